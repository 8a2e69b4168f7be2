package integration_test

import "testing"

// TestEnv is about environments: sandboxrun env.
func TestEnv(t *testing.T) { runScripts(t, "env", together) }
