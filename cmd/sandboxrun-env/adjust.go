package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// adjustment is what a command line changes of what the files say.
type adjustment struct {
	// services to take in, with what they depend on unless noDeps; none means all.
	services []string
	noDeps   bool
	scale    map[string]int
	ttl      *time.Duration
	// test opens every port on a free one of 127.0.0.1 and nowhere else.
	test bool
	// unique is put behind the name that the files give.
	unique string
	// sandbox adds the service that env test --sandbox runs its command in.
	sandbox bool
}

// apply changes a draft before it is completed.
func (a adjustment) apply(d *plan.Draft) error {
	if a.unique != "" {
		d.Plan.Name = d.Plan.Name[:min(len(d.Plan.Name), environment.MaxName-len(a.unique))] + a.unique
	}
	if a.ttl != nil {
		d.Plan.TTL = *a.ttl
	}
	if err := selectServices(d, a.services, a.noDeps); err != nil {
		return err
	}
	for name, replicas := range a.scale {
		s := request(d, name)
		if s == nil {
			return fmt.Errorf("--scale %s=%d: there is no service %q; there are %s", name, replicas, name, serviceNames(d))
		}
		s.Replicas = replicas
	}
	if a.test {
		openForTest(d)
	}
	if a.sandbox {
		return addSandbox(d, d.Plan.Dir)
	}
	return nil
}

// parseScale reads SERVICE=NUMBER.
func parseScale(list []string) (map[string]int, error) {
	scale := map[string]int{}
	for _, text := range list {
		name, number, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || name == "" {
			return nil, commandline.Usagef("--scale %q: it must be SERVICE=NUMBER", text)
		}
		scale[name] = n
	}
	return scale, nil
}

func request(d *plan.Draft, name string) *plan.ServiceRequest {
	at := slices.IndexFunc(d.Services, func(s plan.ServiceRequest) bool { return s.Name == name })
	if at < 0 {
		return nil
	}
	return &d.Services[at]
}

func serviceNames(d *plan.Draft) string {
	var names []string
	for _, s := range d.Services {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// selectServices leaves out what is neither named nor needed by what is.
func selectServices(d *plan.Draft, names []string, noDeps bool) error {
	if len(names) == 0 {
		return nil
	}
	wanted := map[string]bool{}
	for pending := slices.Clone(names); len(pending) > 0; pending = pending[1:] {
		name := pending[0]
		s := request(d, name)
		if s == nil && slices.Contains(names, name) {
			return fmt.Errorf("there is no service %q; there are %s", name, serviceNames(d))
		}
		if s == nil || wanted[name] {
			continue // what a service needs and the file does not have is Complete's to tell
		}
		wanted[name] = true
		if !noDeps {
			pending = append(pending, needs(s)...)
		}
	}
	d.Services = slices.DeleteFunc(slices.Clone(d.Services), func(s plan.ServiceRequest) bool { return !wanted[s.Name] })
	if !noDeps {
		return nil
	}
	for i := range d.Services {
		s := &d.Services[i]
		s.DependsOn = slices.DeleteFunc(slices.Clone(s.DependsOn), func(dep plan.Dependency) bool { return !wanted[dep.Service] })
		s.Links = slices.DeleteFunc(slices.Clone(s.Links), func(l plan.Link) bool { return !wanted[l.Service] })
	}
	return nil
}

// needs are the services without which s does not start.
func needs(s *plan.ServiceRequest) []string {
	var names []string
	for _, d := range s.DependsOn {
		names = append(names, d.Service)
	}
	for _, l := range s.Links {
		names = append(names, l.Service)
	}
	for _, name := range []string{s.JoinNetwork, s.JoinPID, s.JoinIPC} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// openForTest gives every port that a service publishes or exposes a free one of
// 127.0.0.1, so that any number of tests run side by side.
func openForTest(d *plan.Draft) {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for i := range d.Services {
		s := &d.Services[i]
		var ports []plan.Port
		for _, p := range slices.Concat(s.Ports, s.Exposed) {
			same := func(have plan.Port) bool { return have.Target == p.Target && have.Protocol == p.Protocol }
			if len(s.Networks) > 0 && !slices.ContainsFunc(ports, same) {
				ports = append(ports, plan.Port{HostIP: loopback, Target: p.Target, Protocol: p.Protocol, Name: p.Name})
			}
		}
		s.Ports = ports
	}
}

// sandboxService is the service in which env test --sandbox runs its command.
const sandboxService = "sandboxrun-test"

// defaultNetwork is compose's.
const defaultNetwork = "default"

// addSandbox adds a container with this host's root, in which everything but dir is
// written to a layer of its own, on the default network or, without one, on all.
func addSandbox(d *plan.Draft, dir string) error {
	if request(d, sandboxService) != nil {
		return fmt.Errorf("cannot use --sandbox: there is a service %q already; rename it", sandboxService)
	}
	s := plan.ServiceRequest{Replicas: 1, Service: plan.Service{
		Name: sandboxService, Image: plan.Image{Host: true}, StopSignal: "SIGKILL", Restart: plan.Restart{Policy: "no"},
		Sandbox: service.Service{
			Name: sandboxService, Entrypoint: []string{"/bin/sleep", "infinity"}, WorkingDir: dir,
			Mounts: []service.Mount{{Kind: service.Bind, Source: dir, Target: dir}},
		},
	}}
	for _, n := range d.Networks {
		if n.Name == defaultNetwork {
			s.Networks = []plan.Membership{{Network: n.Name}}
			break
		}
		s.Networks = append(s.Networks, plan.Membership{Network: n.Name})
	}
	d.Services = append(slices.Clone(d.Services), s)
	return nil
}
