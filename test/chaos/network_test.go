package chaos_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

// TestANetworkThatVanishesIsSurvivedAndTakenDown takes an environment's network away under
// it, at once after its birth, in its start or when it is up. What cannot start any more says why;
// nothing is left.
func TestANetworkThatVanishesIsSurvivedAndTakenDown(t *testing.T) {
	for _, tt := range some([]struct {
		name  string
		links []string // by the beginnings of their names
		up    bool     // it is up before
	}{
		{"bridges in the start", []string{"br-"}, false},
		{"interfaces in the start", []string{"veth"}, false},
		{"way out in the start", []string{"uplink"}, false},
		{"bridges when it is up", []string{"br-"}, true},
		{"interfaces when it is up", []string{"veth"}, true},
		{"way out when it is up", []string{"uplink"}, true},
		{"everything when it is up", []string{"br-", "veth", "uplink"}, true},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			f := newField(t)
			e := f.newEnviron("net", len(tt.name))
			e.with = []string{filepath.Join(e.files, "egress.yaml")}
			c := e.command("up", "-d", "--wait", "--wait-timeout", "3")
			if tt.up {
				c = e.command("down")
				e.must("up", "-d", "--wait")
				if removed := f.loseLinks(e, tt.links); len(removed) == 0 {
					t.Fatal("there was nothing to lose")
				}
				if _, err := e.run("ps"); err != nil {
					t.Errorf("without its network: %v", err)
				}
			}
			if err := c.start(); err != nil {
				t.Fatal(err)
			}
			for removed := []string{}; !tt.up && len(removed) == 0; {
				select {
				case <-c.done:
					t.Fatalf("there was nothing to lose: %s", c.said())
				default:
				}
				removed = f.loseLinks(e, tt.links)
			}
			if err := c.wait(); err != nil {
				t.Fatal(err)
			}
			t.Log(lastLine(c.stderr.String()))
			switch {
			case c.code() != 0 && lastLine(c.stderr.String()) == "":
				t.Errorf("the error does not tell what happened: %s", c.said())
			case c.code() != 0 && tt.up:
				t.Error(c.said())
			case c.code() == 0 && !tt.up:
				e.must("down")
			}
			if err := e.checkNothing(); err != nil {
				t.Errorf("%v\n%s", err, c.said())
			}
		})
	}
}

// loseLinks deletes interfaces in an environment's network namespace and returns their names.
func (f *field) loseLinks(e *environ, prefixes []string) []string {
	f.tb.Helper()
	supervisor, found := e.supervisor()
	if !found {
		return nil
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", supervisor.PID))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		f.tb.Fatal(err)
	}
	inside, err := network.OpenNamespace(namespace)
	if err != nil {
		f.tb.Fatal(err)
	}
	defer networktest.Close(f.tb, inside)
	var names []string
	networktest.Within(f.tb, inside, func() error {
		links, err := netlink.LinkList()
		for _, link := range links {
			name := link.Attrs().Name
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) && netlink.LinkDel(link) == nil {
				names = append(names, name)
			}
		}
		return err
	})
	return names
}
