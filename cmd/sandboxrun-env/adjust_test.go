package main

import (
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func draft() *plan.Draft {
	request := func(name string, depends ...string) plan.ServiceRequest {
		s := plan.ServiceRequest{Service: plan.Service{Name: name}, Replicas: 1, Networks: []plan.Membership{{Network: "default"}}}
		for _, d := range depends {
			s.DependsOn = append(s.DependsOn, plan.Dependency{Service: d, Condition: plan.Started})
		}
		return s
	}
	d := &plan.Draft{Plan: plan.Plan{Name: "shop", Dir: "/srv/shop"}, Networks: []plan.NetworkRequest{{Name: "back"}, {Name: "default"}}}
	d.Services = []plan.ServiceRequest{request("api", "db"), request("db"), request("lone"), request("web", "api")}
	d.Services[3].Links = []plan.Link{{Service: "lone", Alias: "l"}}
	return d
}

func names(d *plan.Draft) string {
	var all []string
	for _, s := range d.Services {
		all = append(all, s.Name)
	}
	return strings.Join(all, " ")
}

func TestServicesComeWithWhatTheyNeed(t *testing.T) {
	for _, test := range []struct {
		services string
		noDeps   bool
		want     string
	}{
		{"", false, "api db lone web"}, {"db", false, "db"}, {"api", false, "api db"}, {"web", false, "api db lone web"}, {"web", true, "web"}, {"web db", true, "db web"},
	} {
		d := draft()
		a := adjustment{services: strings.Fields(test.services), noDeps: test.noDeps}
		if err := a.apply(d); err != nil || names(d) != test.want {
			t.Errorf("%q, no-deps %v: %q, %v; want %q", test.services, test.noDeps, names(d), err, test.want)
		}
		if _, err := d.Complete(); err != nil {
			t.Errorf("%q, no-deps %v: %v", test.services, test.noDeps, err)
		}
	}
	if err := (adjustment{services: []string{"nobody"}}).apply(draft()); err == nil || !strings.Contains(err.Error(), `"nobody"; there are api, db, lone, web`) {
		t.Errorf("an unknown service gives %v", err)
	}
}

func TestATestOpensEveryPortOnLoopback(t *testing.T) {
	d := draft()
	d.Services[0].Ports = []plan.Port{{HostPort: 80, Target: 8080, Protocol: "tcp"}, {HostPort: 81, Target: 8080, Protocol: "tcp"}, {Target: 53, Protocol: "udp"}}
	d.Services[0].Exposed = []plan.Port{{Target: 8080, Protocol: "tcp"}, {Target: 9, Protocol: "tcp"}}
	d.Services[2].Networks, d.Services[2].Exposed = nil, []plan.Port{{Target: 1, Protocol: "tcp"}}
	if err := (adjustment{test: true, unique: "-01234567"}).apply(d); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range d.Services {
		for _, p := range s.Ports {
			got = append(got, s.Name+" "+portText([]control.PublishedPort{{HostIP: p.HostIP.String(), HostPort: p.HostPort, Target: p.Target, Protocol: p.Protocol}}))
		}
	}
	if text, want := strings.Join(got, ", "), "api 127.0.0.1:0->8080/tcp, api 127.0.0.1:0->53/udp, api 127.0.0.1:0->9/tcp"; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if d.Plan.Name != "shop-01234567" {
		t.Errorf("the name is %s", d.Plan.Name)
	}
	d = draft()
	d.Plan.Name = strings.Repeat("x", environment.MaxName)
	if err := (adjustment{unique: "-01234567"}).apply(d); err != nil || environment.CheckName(d.Plan.Name) != nil || !strings.HasSuffix(d.Plan.Name, "x-01234567") {
		t.Errorf("a long name becomes %s", d.Plan.Name)
	}
}

func TestTheSandboxIsOnTheDefaultNetwork(t *testing.T) {
	d := draft()
	if err := (adjustment{sandbox: true}).apply(d); err != nil {
		t.Fatal(err)
	}
	s := d.Services[len(d.Services)-1]
	if len(s.Networks) != 1 || s.Networks[0].Network != "default" || !s.Image.Host || s.Sandbox.Mounts[0].Source != "/srv/shop" || s.Attach {
		t.Errorf("got %+v", s)
	}
	d = draft()
	d.Networks = []plan.NetworkRequest{{Name: "back"}, {Name: "front"}}
	if err := (adjustment{sandbox: true}).apply(d); err != nil || len(d.Services[4].Networks) != 2 {
		t.Errorf("without a default network: %+v, %v", d.Services[4].Networks, err)
	}
	if err := (adjustment{sandbox: true}).apply(d); err == nil {
		t.Error("a second service of the same name is taken")
	}
}

func TestEndings(t *testing.T) {
	p := shop()
	p.Services[2].DependsOn[0].Condition = plan.Completed // api waits for migrate
	p.Services[3].Restart.Policy = "on-failure"           // web
	exited := func(service string, code int) control.Event {
		return control.Event{Kind: control.EventExited, Service: service, Instance: service + "-1", ExitCode: &code}
	}
	for _, test := range []struct {
		name   string
		when   abortWhen
		from   string
		events []control.Event
		over   bool
		code   int
	}{
		{"never", abortNever, "", []control.Event{exited("db", 1)}, false, 0},
		{"any end", abortOnExit, "", []control.Event{exited("db", 0), exited("api", 3)}, true, 0},
		{"the first code counts", abortOnExit, "", []control.Event{exited("db", 4), exited("api", 3)}, true, 4},
		{"a one-shot service that did it", abortOnExit, "", []control.Event{exited("migrate", 0)}, false, 0},
		{"a one-shot service that did not", abortOnExit, "", []control.Event{exited("migrate", 5)}, true, 5},
		{"failures only", abortOnFailure, "", []control.Event{exited("db", 0)}, false, 0},
		{"a failure", abortOnFailure, "", []control.Event{exited("db", 2)}, true, 2},
		{"one that starts again", abortOnExit, "", []control.Event{exited("web", 2)}, false, 0},
		{"one that does not start again", abortOnExit, "", []control.Event{exited("web", 0)}, true, 0},
		{"a named one", abortOnExit, "api", []control.Event{exited("db", 2), exited("api", 7)}, true, 7},
		{"a named one that never ended", abortOnExit, "api", []control.Event{exited("db", 2)}, true, 1},
		{"a named one-shot service", abortOnExit, "migrate", []control.Event{exited("migrate", 0)}, true, 0},
	} {
		n := &endings{plan: p, when: test.when, from: test.from, seen: make(chan struct{}, 1)}
		for _, e := range test.events {
			n.see(e)
		}
		if n.isOver() != test.over || n.code() != test.code {
			t.Errorf("%s: over %v, code %d; want %v, %d", test.name, n.isOver(), n.code(), test.over, test.code)
		}
	}
}
