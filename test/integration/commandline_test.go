package integration_test

import "testing"

// TestCommands holds the commands that run and the lifecycle do not need.
func TestCommands(t *testing.T) { runScripts(t, "commands", together) }
