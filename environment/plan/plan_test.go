package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// request is a service on the default network that depends on others.
func request(name string, after ...string) plan.ServiceRequest {
	r := plan.ServiceRequest{Service: plan.Service{Name: name}, Replicas: 1, Networks: []plan.Membership{{Network: "default"}}}
	for _, d := range after {
		r.DependsOn = append(r.DependsOn, plan.Dependency{Service: d, Condition: plan.Started})
	}
	return r
}

func draft(services ...plan.ServiceRequest) plan.Draft {
	return plan.Draft{Plan: plan.Plan{Name: "e"}, Networks: []plan.NetworkRequest{{Name: "default"}}, Services: services}
}

func complete(t *testing.T, d plan.Draft) *plan.Plan {
	t.Helper()
	p, err := d.Complete()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOrder(t *testing.T) {
	tests := []struct {
		name     string
		services []plan.ServiceRequest
		want     string
	}{
		{"without dependencies by name", []plan.ServiceRequest{request("c"), request("a"), request("b")}, "a b c"},
		{"after what it needs", []plan.ServiceRequest{request("a", "z"), request("z")}, "z a"},
		{"a diamond", []plan.ServiceRequest{request("a", "b", "c"), request("b", "d"), request("c", "d"), request("d")}, "d b c a"},
		{"as early as it can", []plan.ServiceRequest{request("b", "c"), request("c"), request("a", "b"), request("d")}, "c b a d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 3 {
				var got []string
				for _, s := range complete(t, draft(tt.services...)).Services {
					got = append(got, s.Name)
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("got %v, want %s", got, tt.want)
				}
				slices.Reverse(tt.services) // the order of writing does not matter
			}
		})
	}
}

func TestCycle(t *testing.T) {
	tests := []struct {
		name     string
		services []plan.ServiceRequest
		want     string
	}{
		{"two", []plan.ServiceRequest{request("b", "a"), request("a", "b")}, "a → b → a"},
		{"itself", []plan.ServiceRequest{request("a", "a")}, "a → a"},
		{"behind others", []plan.ServiceRequest{request("a", "b"), request("b", "d"), request("c", "b"), request("d", "c")}, "b → d → c → b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := draft(tt.services...).Complete()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s in it", err, tt.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	web, db := request("web"), request("db")
	web.Replicas = 3
	db.Networks = []plan.Membership{{Network: "default", Addresses: []netip.Addr{netip.MustParseAddr("10.89.0.3")}}, {Network: "zone"}}
	d := draft(web, db)
	d.Networks = []plan.NetworkRequest{{Name: "zone", IPv6: true}, {Name: "default"}, {Name: "asked", Pools: []plan.Pool{{Subnet: netip.MustParsePrefix("10.89.1.0/24")}}}}
	p := complete(t, d)
	var got []string
	for _, n := range p.Networks {
		got = append(got, fmt.Sprintf("%s %s %v %v", n.Name, n.Bridge, n.Subnets, n.Gateways))
	}
	for _, s := range p.Services {
		for _, in := range s.Instances {
			for _, a := range in.Attachments {
				got = append(got, fmt.Sprintf("%s %s %s %v %v", in.Name, a.Network, a.Interface, a.Addresses, a.Names))
			}
		}
	}
	want := []string{
		"default br-default [10.89.0.0/24] [10.89.0.1]",
		"asked br-asked [10.89.1.0/24] [10.89.1.1]",
		"zone br-zone [10.89.2.0/24 fd73:6278:7200::/64] [10.89.2.1 fd73:6278:7200::1]",
		"db-1 default eth0 [10.89.0.3] [db db-1]",
		"db-1 zone eth1 [10.89.2.2 fd73:6278:7200::2] [db db-1]",
		"web-1 default eth0 [10.89.0.2] [web web-1]",
		"web-2 default eth0 [10.89.0.4] [web web-2]",
		"web-3 default eth0 [10.89.0.5] [web web-3]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if again := complete(t, d); !reflect.DeepEqual(p, again) {
		t.Error("the same draft gives another plan")
	}
}

// TestAddressesAreNeverTwice fills networks of all small sizes.
func TestAddressesAreNeverTwice(t *testing.T) {
	for bits := 24; bits <= 30; bits++ {
		s := request("s")
		s.Replicas = 1<<(32-bits) - 3 // all but the subnet's, the gateway's and the broadcast address
		d := draft(s)
		subnet := netip.PrefixFrom(netip.MustParseAddr("10.7.0.0"), bits)
		d.Networks[0].Pools = []plan.Pool{{Subnet: subnet}}
		p := complete(t, d)
		seen := map[netip.Addr]bool{p.Networks[0].Gateways[0]: true}
		for _, in := range p.Services[0].Instances {
			a := in.Attachments[0].Addresses[0]
			if seen[a] || !subnet.Contains(a) || !subnet.Contains(a.Next()) {
				t.Errorf("/%d: %s has %s", bits, in.Name, a)
			}
			seen[a] = true
		}
		d.Services[0].Replicas++
		if _, err := d.Complete(); err == nil || !strings.Contains(err.Error(), "no free address") {
			t.Errorf("/%d: one more fits: %v", bits, err)
		}
	}
}

func TestBridgesFitAndDiffer(t *testing.T) {
	d := draft(request("s"))
	for _, name := range []string{"a-very-long-name-of-a-network", "a-very-long-name-of-a-network2", "ok", "with space", "Ünïcode", "._", "123456789012", "1234567890123"} {
		d.Networks = append(d.Networks, plan.NetworkRequest{Name: name})
	}
	seen := map[string]bool{}
	for _, n := range complete(t, d).Networks {
		if seen[n.Bridge] || len(n.Bridge) > 15 || strings.ContainsAny(n.Bridge, " /:") || !strings.HasPrefix(n.Bridge, "br-") {
			t.Errorf("network %q has the bridge %q", n.Name, n.Bridge)
		}
		seen[n.Bridge] = true
	}
}

func TestProblems(t *testing.T) {
	with := func(change func(s *plan.ServiceRequest)) plan.Draft {
		s := request("a")
		change(&s)
		return draft(s, request("b"))
	}
	port := plan.Port{HostIP: netip.IPv4Unspecified(), HostPort: 80, Target: 80, Protocol: "tcp"}
	tests := []struct {
		name string
		in   plan.Draft
		want string
	}{
		{"no service", draft(), "services: there is no service to start"},
		{"name of the environment", plan.Draft{Plan: plan.Plan{Name: "A"}, Services: []plan.ServiceRequest{{Service: plan.Service{Name: "a"}}}}, `name: "A" is no name`},
		{"two of one name", draft(request("a"), request("a")), "services.a: there are two services of this name"},
		{"name of a service", draft(request("a/b")), `services.a/b: "a/b" is no name`},
		{"too long for its instances", draft(request(strings.Repeat("a", 62))), "is too long"},
		{"supervisor", with(func(s *plan.ServiceRequest) { s.ContainerName = "supervisor" }), "container_name"},
		{"another's instance", with(func(s *plan.ServiceRequest) { s.ContainerName = "b-1" }), `a container of "a" is called "b-1" too`},
		{"replicas", with(func(s *plan.ServiceRequest) { s.Replicas = 1001 }), "services.a.scale: 1001"},
		{"unknown network", with(func(s *plan.ServiceRequest) { s.Networks[0].Network = "x" }), `services.a.networks.x: "x" is no network`},
		{"unknown volume", with(func(s *plan.ServiceRequest) { s.Volumes = []plan.VolumeMount{{Volume: "v", Target: "/v"}} }), `"v" is no volume`},
		{"unknown secret", with(func(s *plan.ServiceRequest) { s.Grants = []plan.Grant{{Secret: "s", Target: "/s"}} }), `services.a.secrets: "s" is not defined`},
		{"unknown config", with(func(s *plan.ServiceRequest) { s.Grants = []plan.Grant{{Secret: "config:s", Target: "/s"}} }), `services.a.configs: "s" is not defined`},
		{"namespace of nobody", with(func(s *plan.ServiceRequest) { s.JoinPID = "x" }), `services.a.pid: "x" is no service`},
		{"its own namespace", with(func(s *plan.ServiceRequest) { s.JoinIPC = "a" }), "services.a.ipc: a service cannot share its own namespace"},
		{"network and another's", with(func(s *plan.ServiceRequest) { s.JoinNetwork = "b" }), "leave one of them out"},
		{"a port twice", with(func(s *plan.ServiceRequest) { s.Ports = []plan.Port{port, port} }), "is published twice"},
		{"interface twice", with(func(s *plan.ServiceRequest) {
			s.Networks = append(s.Networks, plan.Membership{Network: "default", Interface: "eth0"})
		}), "interface_name"},
		{"loopback", with(func(s *plan.ServiceRequest) { s.Networks[0].Interface = "lo" }), "interface_name"},
		{"hardware address", with(func(s *plan.ServiceRequest) { s.Networks[0].MAC = "01:00:00:00:00:00" }), "no hardware address"},
		{"MTU", plan.Draft{Plan: plan.Plan{Name: "e"}, Networks: []plan.NetworkRequest{{Name: "default", MTU: 1}}, Services: []plan.ServiceRequest{request("a")}}, "1 is no MTU"},
		{"mounts", with(func(s *plan.ServiceRequest) {
			s.Sandbox.Mounts = []service.Mount{{Kind: service.Tmpfs, Target: "/x"}, {Kind: service.Bind, Target: "/x/", Source: "/"}}
		}), `"/x" is mounted twice, by tmpfs and volumes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.in.Complete()
			if err == nil || p != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s in it", err, tt.want)
			}
		})
	}
}

func TestPortsOfOneNumberThatDoNotClash(t *testing.T) {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	a, b := request("a"), request("b")
	a.Ports = []plan.Port{{HostIP: v4, HostPort: 53, Target: 53, Protocol: "tcp"}, {HostIP: v4, HostPort: 80, HostPortEnd: 90, Target: 80, Protocol: "tcp"}, {HostIP: v4, Target: 1, Protocol: "tcp"}}
	b.Ports = []plan.Port{{HostIP: v4, HostPort: 53, Target: 53, Protocol: "udp"}, {HostIP: v6, HostPort: 53, Target: 53, Protocol: "tcp"}, {HostIP: v4, HostPort: 80, Target: 80, Protocol: "tcp"}, {HostIP: v4, Target: 1, Protocol: "tcp"}}
	complete(t, draft(a, b))
}

func TestSharedNamespaceIsADependency(t *testing.T) {
	a := request("a")
	a.Networks, a.JoinNetwork = nil, "b"
	p := complete(t, draft(a, request("b")))
	want := []plan.Dependency{{Service: "b", Condition: plan.Started, Restart: true}}
	if got := p.Services[1]; got.Name != "a" || !reflect.DeepEqual(got.DependsOn, want) {
		t.Errorf("got %s after %+v, want a after %+v", got.Name, got.DependsOn, want)
	}
}

func TestCheckOf(t *testing.T) {
	image := &manifest.Healthcheck{Test: []string{"CMD-SHELL", "x"}, Interval: time.Second, Retries: 9}
	command := []string{"/bin/sh", "-c", "x"}
	tests := []struct {
		name  string
		of    *plan.Healthcheck
		image *manifest.Healthcheck
		want  *plan.Healthcheck
	}{
		{"neither", nil, nil, nil},
		{"the image's", nil, image, &plan.Healthcheck{Command: command, Interval: time.Second, Retries: 9}},
		{"the image's with other times", &plan.Healthcheck{Interval: time.Minute}, image, &plan.Healthcheck{Command: command, Interval: time.Minute, Retries: 9}},
		{"its own with the image's times", &plan.Healthcheck{Command: []string{"y"}}, image, &plan.Healthcheck{Command: []string{"y"}, Interval: time.Second, Retries: 9}},
		{"disabled", &plan.Healthcheck{Disabled: true}, image, nil},
		{"times of nothing", &plan.Healthcheck{Interval: time.Minute}, nil, nil},
		{"the image's NONE", nil, &manifest.Healthcheck{Test: []string{"NONE"}}, nil},
		{"the image's CMD", nil, &manifest.Healthcheck{Test: []string{"CMD", "a", "b"}}, &plan.Healthcheck{Command: []string{"a", "b"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (plan.Service{Healthcheck: tt.of}).CheckOf(tt.image); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// FuzzPlanJSON holds that what can be read as a plan is the same after it is written and read again, and that Text takes
// anything.
func FuzzPlanJSON(f *testing.F) {
	web := request("web", "db")
	web.Sandbox.Command, web.Sandbox.Entrypoint = []string{}, nil
	web.Ports = []plan.Port{{HostIP: netip.MustParseAddr("::1"), HostPort: 1, Target: 2, Protocol: "tcp"}}
	web.Ready = []plan.Probe{{Kind: plan.ProbeHTTP, Port: 1, Headers: map[string]string{"A": "b"}}}
	web.Healthcheck = &plan.Healthcheck{Disabled: true}
	web.PreStart = []plan.Hook{{Command: []string{"a"}, Image: &plan.Image{Host: true}}}
	d := draft(web, request("db"))
	d.Plan.Egress = plan.Egress{Rules: []plan.EgressRule{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Name: "x.org"}}}
	p, err := d.Complete()
	if err != nil {
		f.Fatal(err)
	}
	seed, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first plan.Plan
		if json.Unmarshal(data, &first) != nil {
			t.Skip("no plan")
		}
		text, err := json.Marshal(&first)
		if err != nil {
			t.Skip("no plan that can be written") // a number of a float that JSON does not have
		}
		var second plan.Plan
		if err := json.Unmarshal(text, &second); err != nil {
			t.Fatalf("it cannot be read again: %v\n%s", err, text)
		}
		again, err := json.Marshal(&second)
		if err != nil || !bytes.Equal(text, again) {
			t.Fatalf("it is another one (%v):\n%s\n%s", err, text, again)
		}
		if first.Text() != second.Text() {
			t.Errorf("Text differs:\n%s\n%s", first.Text(), second.Text())
		}
	})
}
