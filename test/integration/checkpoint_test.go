package integration_test

import "testing"

// TestCheckpoint needs CRIU where it is not skipped.
func TestCheckpoint(t *testing.T) { runScripts(t, "checkpoint", together) }
