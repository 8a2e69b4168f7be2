package integration_test

import "testing"

// TestRootless has an ordinary user of no session, so without a cgroup; test/systemd
// has one who is logged in.
func TestRootless(t *testing.T) { runScripts(t, "rootless", together) }
