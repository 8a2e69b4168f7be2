package chaos_test

import (
	"bytes"
	"encoding/json"
	"slices"
)

// neighbour is a healthy environment that nothing may touch.
type neighbour struct {
	*environ
	before []instance
	// supervisor is what it was born as.
	supervisor process
}

// instance is what must not change of one of its services.
type instance struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Ready    bool   `json:"ready"`
	Health   string `json:"health"`
	Restarts int    `json:"restarts"`
	Since    string `json:"since"` // of its start
}

func newNeighbour(f *field) *neighbour {
	f.tb.Helper()
	n := &neighbour{environ: f.newEnviron("neighbour", 0)}
	n.with = []string{n.files + "/egress.yaml"}
	n.must("up", "-d", "--wait")
	n.before, n.supervisor = n.instances(), n.findSupervisor()
	if len(n.before) != 3 {
		f.tb.Fatalf("the neighbour is %v", n.before)
	}
	return n
}

func (n *neighbour) instances() []instance {
	n.tb.Helper()
	var all []instance
	if err := json.Unmarshal(n.must("ps", "--format", "json").stdout.Bytes(), &all); err != nil {
		n.tb.Fatal(err)
	}
	return all
}

func (n *neighbour) findSupervisor() process {
	n.tb.Helper()
	p, found := n.environ.supervisor()
	if !found {
		n.tb.Fatal("the neighbour has no supervisor")
	}
	return p
}

// end looks whether it is what it was, has it say so inside, and takes it down.
func (n *neighbour) end() {
	n.tb.Helper()
	if after := n.instances(); !slices.Equal(after, n.before) {
		n.tb.Errorf("the neighbour is %v, and was %v", after, n.before)
	}
	if p := n.findSupervisor(); !p.Is(n.supervisor.Process) {
		n.tb.Errorf("the neighbour's supervisor is %v, and was %v", p, n.supervisor)
	}
	answer := n.must("exec", "-T", "web", "/workload", "get", "http://api:8080/")
	if !bytes.Contains(answer.stdout.Bytes(), []byte("hostname api")) {
		n.tb.Errorf("the neighbour's services do not see each other: %s", answer.said())
	}
	n.must("down")
	if err := n.checkNothing(); err != nil {
		n.tb.Errorf("the neighbour, when it was taken down, %v", err)
	}
}
