package plan

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/internal/spelling"
)

const (
	// maxName bounds the name of an environment, a service and an instance: each becomes a directory, a control
	// group and a DNS label.
	maxName = 63
	// maxReplicas bounds the instances of one service.
	maxReplicas = 1000
	// supervisorName is what the supervisor's control group is called, beside those of the instances.
	supervisorName = "supervisor"
)

// Complete decides what the draft leaves open: the order of the services, the
// instances and their names, bridges, subnets and addresses. The same draft gives
// the same plan everywhere. The error is Problems: all of them.
//
// The draft is left as it is, but shares memory with the plan.
func (d Draft) Complete() (*Plan, error) {
	c := &completion{draft: d, plan: d.Plan, services: map[string]*ServiceRequest{}}
	c.plan.Version = Version
	if !IsName(c.plan.Name) {
		c.addf([]string{"name"}, "%q is no name of an environment: write a-z, 0-9, _ and - after a letter or digit, at most %d", c.plan.Name, maxName)
	}
	c.collect()
	c.check()
	order := c.order()
	if len(c.problems) == 0 {
		c.instances(order)
		c.networks(order)
		c.checkPorts(order)
	}
	if len(c.problems) > 0 {
		return nil, c.problems.sorted()
	}
	for _, name := range order {
		c.plan.Services = append(c.plan.Services, c.services[name].Service)
	}
	return &c.plan, nil
}

// IsName tells whether s can be the name of an environment.
func IsName(s string) bool {
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// completion is a draft on its way to a plan.
type completion struct {
	draft    Draft
	plan     Plan
	problems Problems
	// services by name; their Instances are filled in.
	services map[string]*ServiceRequest
}

func (c *completion) addf(path []string, format string, args ...any) {
	c.problems = append(c.problems, &Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

func at(name string, more ...string) []string {
	return append([]string{"services", name}, more...)
}

func (c *completion) collect() {
	for i := range c.draft.Services {
		s := c.draft.Services[i]
		if _, twice := c.services[s.Name]; twice {
			c.addf(at(s.Name), "there are two services of this name")
			continue
		}
		s.DependsOn = slices.Clone(s.DependsOn)
		s.Instances = nil
		c.services[s.Name] = &s
	}
}

func (c *completion) names() []string {
	var out []string
	for _, s := range c.draft.Services {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// check looks at everything that refers to something else.
func (c *completion) check() {
	if len(c.services) == 0 {
		c.addf([]string{"services"}, "there is no service to start")
	}
	for _, name := range c.names() {
		s := c.services[name]
		if !isLabel(name) {
			c.addf(at(name), "%q is no name of a service: write letters, digits, _ . and - after a letter or digit, at most %d", name, maxName)
		}
		c.checkReplicas(s)
		c.checkDependencies(s)
		c.checkShared(s)
		slices.SortFunc(s.DependsOn, func(a, b Dependency) int { return strings.Compare(a.Service, b.Service) })
		c.checkMounts(s)
		for _, m := range s.Networks {
			if !slices.ContainsFunc(c.draft.Networks, func(n NetworkRequest) bool { return n.Name == m.Network }) {
				c.addf(at(name, "networks", m.Network), "%q is no network; write it below networks at the top of the file", m.Network)
			}
		}
	}
}

func (c *completion) checkReplicas(s *ServiceRequest) {
	if s.Replicas < 0 || s.Replicas > maxReplicas {
		c.addf(at(s.Name, "scale"), "%d is no number of replicas; write 0 to %d", s.Replicas, maxReplicas)
	}
	if s.ContainerName == "" {
		return
	}
	switch {
	case !isLabel(s.ContainerName):
		c.addf(at(s.Name, "container_name"), "%q is no name of a container: write letters, digits, _ . and - after a letter or digit, at most %d", s.ContainerName, maxName)
	case s.ContainerName == supervisorName:
		c.addf(at(s.Name, "container_name"), "%q is the name of the environment's own process; choose another", s.ContainerName)
	}
	if s.Replicas > 1 {
		c.addf(at(s.Name, "container_name"), "%d replicas cannot have one name; leave container_name out", s.Replicas)
	}
}

func (c *completion) checkDependencies(s *ServiceRequest) {
	s.DependsOn = slices.DeleteFunc(s.DependsOn, func(d Dependency) bool {
		_, known := c.services[d.Service]
		return !known && d.Optional
	})
	for _, d := range s.DependsOn {
		other, known := c.services[d.Service]
		// A link or a shared namespace makes a dependency, and is told of by itself.
		linked := slices.ContainsFunc(s.Links, func(l Link) bool { return l.Service == d.Service })
		if !known && (linked || slices.Contains([]string{s.JoinNetwork, s.JoinPID, s.JoinIPC}, d.Service)) {
			continue
		}
		switch {
		case !known:
			c.addf(at(s.Name, "depends_on", d.Service), "%q is no service%s", d.Service, c.hint(d.Service))
		case other.Replicas == 0 && !d.Optional:
			c.addf(at(s.Name, "depends_on", d.Service), "%q has no replicas and never starts; write required: false", d.Service)
		}
	}
}

// hint names the service that was likely meant, or those that there are.
func (c *completion) hint(name string) string {
	names := c.names()
	if guess := spelling.Nearest(name, names); guess != "" {
		return fmt.Sprintf("; did you mean %q?", guess)
	}
	return "; there are " + strings.Join(names, ", ")
}

// checkShared looks at namespaces that are another service's.
func (c *completion) checkShared(s *ServiceRequest) {
	for _, shared := range []struct{ key, with string }{{"network_mode", s.JoinNetwork}, {"pid", s.JoinPID}, {"ipc", s.JoinIPC}} {
		if shared.with == "" {
			continue
		}
		other, known := c.services[shared.with]
		switch {
		case !known:
			c.addf(at(s.Name, shared.key), "%q is no service%s", shared.with, c.hint(shared.with))
			continue
		case other == s:
			c.addf(at(s.Name, shared.key), "a service cannot share its own namespace; leave %s out", shared.key)
			continue
		case other.Replicas != 1:
			c.addf(at(s.Name, shared.key), "%q has %d replicas; a namespace can be shared with a service that has one", shared.with, other.Replicas)
		}
		if !slices.ContainsFunc(s.DependsOn, func(d Dependency) bool { return d.Service == shared.with }) {
			s.DependsOn = append(s.DependsOn, Dependency{Service: shared.with, Condition: Started, Restart: true})
		}
	}
	if s.JoinNetwork != "" && len(s.Networks) > 0 {
		c.addf(at(s.Name, "networks"), "the network is that of %q by network_mode; leave one of them out", s.JoinNetwork)
	}
	if len(s.Ports) > 0 && len(s.Networks) == 0 {
		c.addf(at(s.Name, "ports"), "a service without a network of its own has no ports; %s", portAdvice(s))
	}
	for _, l := range s.Links {
		if _, known := c.services[l.Service]; !known {
			c.addf(at(s.Name, "links"), "%q is no service%s", l.Service, c.hint(l.Service))
		}
	}
}

func portAdvice(s *ServiceRequest) string {
	if s.JoinNetwork != "" {
		return "write them at " + strconv.Quote(s.JoinNetwork)
	}
	return "leave ports or network_mode out"
}

// checkMounts looks at what is put into the service: it must exist, and each place is taken once.
func (c *completion) checkMounts(s *ServiceRequest) {
	taken := map[string]string{}
	take := func(key, target string) {
		target = path.Clean(target)
		if before, twice := taken[target]; twice {
			c.addf(at(s.Name, key), "%q is mounted twice, by %s and %s", target, before, key)
		}
		taken[target] = key
	}
	for _, m := range s.Sandbox.Mounts {
		key := "volumes"
		if m.Kind == service.Tmpfs {
			key = "tmpfs"
		}
		take(key, m.Target)
	}
	for _, v := range s.Volumes {
		take("volumes", v.Target)
		if !slices.ContainsFunc(c.plan.Volumes, func(have Volume) bool { return have.Name == v.Volume }) {
			c.addf(at(s.Name, "volumes"), "%q is no volume; write it below volumes at the top of the file, or ./%s for a directory", v.Volume, v.Volume)
		}
	}
	for _, g := range s.Grants {
		key, name := "secrets", g.Secret
		if config, ok := strings.CutPrefix(g.Secret, ConfigPrefix); ok {
			key, name = "configs", config
		}
		take(key, g.Target)
		if !slices.ContainsFunc(c.plan.Secrets, func(have Secret) bool { return have.Name == g.Secret }) {
			c.addf(at(s.Name, key), "%q is not defined; write it below %s at the top of the file", name, key)
		}
	}
}

// ConfigPrefix begins the Name of a Secret that is a config.
const ConfigPrefix = "config:"

// isLabel tells whether s can name a service or an instance.
func isLabel(s string) bool {
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// instances names the containers.
func (c *completion) instances(order []string) {
	owners := map[string]string{}
	for _, name := range order {
		s := c.services[name]
		for i := 1; i <= s.Replicas; i++ {
			in := Instance{Name: name + "-" + strconv.Itoa(i), Index: i}
			if s.ContainerName != "" {
				in.Name = s.ContainerName
			}
			switch {
			case s.Sandbox.Hostname != "":
				in.Hostname = s.Sandbox.Hostname
			case s.Replicas > 1:
				in.Hostname = in.Name
			default:
				in.Hostname = name
			}
			if !isLabel(in.Name) {
				c.addf(at(name), "the name of its container %q is too long; choose a shorter one", in.Name)
			}
			if owner, twice := owners[in.Name]; twice {
				c.addf(at(name, "container_name"), "a container of %q is called %q too; choose another name", owner, in.Name)
			}
			owners[in.Name] = name
			s.Instances = append(s.Instances, in)
		}
	}
}

// checkPorts looks for two that publish the same port of the host.
func (c *completion) checkPorts(order []string) {
	type use struct {
		service string
		port    Port
	}
	var used []use
	for _, name := range order {
		for _, p := range c.services[name].Ports {
			if p.HostPort == 0 {
				continue
			}
			clash := slices.IndexFunc(used, func(u use) bool { return clashes(u.port, p) })
			if clash >= 0 && used[clash].service == name {
				c.addf(at(name, "ports"), "the host's port %d/%s is published twice; choose another", p.HostPort, p.Protocol)
			} else if clash >= 0 {
				c.addf(at(name, "ports"), "the host's port %d/%s is published by %q too; choose another", p.HostPort, p.Protocol, used[clash].service)
			}
			used = append(used, use{name, p})
		}
	}
}

// clashes: of two ranges, or a range and a port, the first free one is taken, so that they need not clash.
func clashes(a, b Port) bool {
	if a.Protocol != b.Protocol || a.HostPortEnd != 0 || b.HostPortEnd != 0 || a.HostPort != b.HostPort {
		return false
	}
	return a.HostIP == b.HostIP || (a.HostIP.Is4() == b.HostIP.Is4()) && (a.HostIP.IsUnspecified() || b.HostIP.IsUnspecified())
}
