package names_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/names"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

// inService makes an environment with the gateways 172.20.0.1 and fd00:20::1, a name server on port 53 there, and gives the
// namespace of a service on that network.
func inService(t *testing.T) *network.Namespace {
	t.Helper()
	stack := networktest.OpenStack(t)
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16", "fd00:20::1/64")
	service := networktest.AddService(t, stack, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16", "fd00:20::2/64"),
	})
	server := names.NewServer(names.Options{})
	t.Cleanup(func() { networktest.Close(t, server) })
	if err := server.AddNetwork(names.Network{
		Name: "front", Gateways: addresses("172.20.0.1", "fd00:20::1"), Subnets: networktest.Prefixes("172.20.0.0/16", "fd00:20::/64"),
	}); err != nil {
		t.Fatal(err)
	}
	set(t, server, "db-1", names.Attachment{Network: "front", Addresses: addresses("172.20.0.3"), Names: []string{"db-1", "db", "db.shop.test"}})
	set(t, server, "web-1", names.Attachment{Network: "front", Addresses: addresses("172.20.0.4", "fd00:20::4"), Names: []string{"web-1", "web"}})
	for i := range 100 {
		set(t, server, fmt.Sprint("many-", i), names.Attachment{
			Network: "front", Addresses: addresses(fmt.Sprintf("172.20.1.%d", i+1)), Names: []string{"many"},
		})
	}
	return service
}

// resolution is what a resolver is asked and has to say.
type resolution struct {
	name string
	want []string
	// code of getent: 2 is "no such name".
	code int
}

var resolutions = []resolution{
	{name: "db", want: []string{"172.20.0.3"}},
	{name: "DB.Shop.Test", want: []string{"172.20.0.3"}},
	{name: "web", want: []string{"172.20.0.4", "fd00:20::4"}},
	{name: "web.front", want: []string{"172.20.0.4", "fd00:20::4"}},
	{name: "nobody", code: 2},
	{name: "www.example.com", code: 2},
}

// atOnce is what an answer may take: a resolver that had to ask again would take 5 seconds.
const atOnce = 2 * time.Second

func TestGlibcResolves(t *testing.T) {
	getent, err := exec.LookPath("getent")
	if err != nil {
		t.Skip(err)
	}
	for _, servers := range [][]string{{"172.20.0.1"}, {"fd00:20::1"}, {"172.20.0.1", "fd00:20::1"}} {
		t.Run(strings.Join(servers, " and "), func(t *testing.T) {
			service := inService(t)
			for _, rest := range []string{"options ndots:0\n", "search corp.test\noptions ndots:0\n", "search corp.test\n"} {
				conf := filepath.Join(t.TempDir(), "resolv.conf")
				content := "nameserver " + strings.Join(servers, "\nnameserver ") + "\n" + rest
				if err := os.WriteFile(conf, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				for _, r := range resolutions {
					began := time.Now()
					got, code := runInside(t, service, conf, getent, "ahosts", r.name)
					if code != r.code || !slices.Equal(got, r.want) || time.Since(began) > atOnce {
						t.Errorf("%s: got %q with code %d after %v, want %q with code %d", r.name, got, code, time.Since(began), r.want, r.code)
					}
				}
				if got, _ := runInside(t, service, conf, getent, "ahostsv4", "many"); len(got) != 100 {
					t.Errorf("many: got %d addresses of 100", len(got))
				}
				if got, _ := runInside(t, service, conf, getent, "hosts", "172.20.0.3"); !slices.Equal(got, []string{"172.20.0.3"}) {
					t.Errorf("172.20.0.3: got %q", got)
				}
				if _, code := runInside(t, service, conf, getent, "hosts", "172.20.9.9"); code != 2 {
					t.Errorf("172.20.9.9: got code %d", code)
				}
			}
		})
	}
}

// runInside runs a command in a network namespace with an /etc/resolv.conf of its own, and gives the first words of the lines
// that it prints, sorted and each once.
func runInside(t *testing.T, n *network.Namespace, conf string, command ...string) (words []string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	script := `mount --bind "$0" /etc/resolv.conf && exec "$@"`
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.Path(), "sh", "-c", script, conf}, command...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || stderr.Len() > 0 {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	for line := range strings.Lines(string(out)) {
		words = append(words, strings.Fields(line)[0])
	}
	slices.Sort(words)
	return slices.Compact(words), cmd.ProcessState.ExitCode()
}

func TestGoResolves(t *testing.T) {
	service := inService(t)
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return service.DialContext(ctx, network, "172.20.0.1:53")
	}}
	for _, r := range resolutions {
		began := time.Now()
		// The dot keeps the host's search domains away.
		got, err := resolver.LookupHost(t.Context(), r.name+".")
		slices.Sort(got)
		var missing *net.DNSError
		if !slices.Equal(got, r.want) || (r.code == 2) != (errors.As(err, &missing) && missing.IsNotFound) || time.Since(began) > atOnce {
			t.Errorf("%s: got %q, %v after %v; want %q", r.name, got, err, time.Since(began), r.want)
		}
	}
	if got, err := resolver.LookupHost(t.Context(), "many."); len(got) != 100 || err != nil {
		t.Errorf("many: got %d addresses of 100, %v", len(got), err)
	}
	if got, err := resolver.LookupAddr(t.Context(), "fd00:20::4"); !slices.Equal(got, []string{"web-1."}) || err != nil {
		t.Errorf("fd00:20::4: got %q, %v", got, err)
	}
}
