package compose

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// defaultStopGrace is the specification's.
const defaultStopGrace = 10 * time.Second

func duration0(d *types.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return time.Duration(*d)
}

func (c *converter) dependencies(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		_, disabled := c.project.DisabledServices[name]
		if disabled && d.Required {
			c.addf(append(child(path, "depends_on"), name), "%q is enabled by a profile only: %s; enable it with --profile, or write required: false", name, strings.Join(c.project.DisabledServices[name].Profiles, ", "))
			continue
		}
		condition := plan.Condition(d.Condition)
		if condition == "" {
			condition = plan.Started
		}
		out.DependsOn = append(out.DependsOn, plan.Dependency{Service: name, Condition: condition, Optional: !d.Required, Restart: d.Restart})
	}
}

func (c *converter) health(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	h := s.HealthCheck
	if h == nil {
		return
	}
	path = child(path, "healthcheck")
	if h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE" {
		out.Healthcheck = &plan.Healthcheck{Disabled: true}
		return
	}
	check := &plan.Healthcheck{
		Command:       plan.CheckCommand(h.Test),
		Interval:      duration0(h.Interval),
		Timeout:       duration0(h.Timeout),
		StartPeriod:   duration0(h.StartPeriod),
		StartInterval: duration0(h.StartInterval),
	}
	if h.Retries != nil {
		check.Retries = int(min(*h.Retries, 1<<30))
	}
	if len(h.Test) > 0 && check.Command == nil {
		c.addf(child(path, "test"), "it must be a line, or a list that begins with CMD, CMD-SHELL or NONE and goes on with the command, not %q", []string(h.Test))
	}
	out.Healthcheck = check
}

func (c *converter) restart(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	out.Restart.Policy = "no"
	policy, count, counted := strings.Cut(s.Restart, ":")
	switch policy {
	case "", "no":
	case "always", "unless-stopped", "on-failure":
		out.Restart.Policy = policy
	default:
		c.addf(child(path, "restart"), "%q is no policy; write no, always, on-failure, on-failure:N or unless-stopped", s.Restart)
	}
	if counted {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil || policy != "on-failure" {
			c.addf(child(path, "restart"), "%q is no policy; write no, always, on-failure, on-failure:N or unless-stopped", s.Restart)
		}
		out.Restart.MaxAttempts = int(n)
	}
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		return
	}
	d := s.Deploy.RestartPolicy
	out.Restart = plan.Restart{Delay: duration0(d.Delay), Window: duration0(d.Window)}
	if d.MaxAttempts != nil {
		out.Restart.MaxAttempts = int(min(*d.MaxAttempts, 1<<30))
	}
	switch d.Condition {
	case "", "any":
		out.Restart.Policy = "always"
	case "on-failure":
		out.Restart.Policy = "on-failure"
	case "none":
		out.Restart = plan.Restart{Policy: "no"}
	default:
		c.addf(append(child(path, "deploy"), "restart_policy", "condition"), "%q is none of any, on-failure and none", d.Condition)
	}
}

func (c *converter) hooks(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	for i, h := range s.PreStart {
		hook := plan.Hook{Command: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir, Environment: c.environment(child(path, "pre_start"), h.Environment), PerReplica: h.PerReplica}
		if h.Image != "" && h.Image != s.Image {
			hook.Image = &plan.Image{Source: "docker://" + h.Image, Pull: out.Image.Pull, Platform: h.Platform, DockerDefaults: true}
		}
		// The library gives a step the service's own command, which would be run twice.
		if len(h.Command) == 0 || slices.Equal(h.Command, s.Command) && !c.walk.wrote(append(child(path, "pre_start"), "["+strconv.Itoa(i)+"]", "command")) {
			c.addf(child(path, "pre_start"), "a step needs a command")
		}
		out.PreStart = append(out.PreStart, hook)
	}
	out.PostStart = c.serviceHooks(child(path, "post_start"), s.PostStart)
	out.PreStop = c.serviceHooks(child(path, "pre_stop"), s.PreStop)
}

func (c *converter) serviceHooks(path []string, hooks []types.ServiceHook) []plan.Hook {
	var out []plan.Hook
	for _, h := range hooks {
		if len(h.Command) == 0 {
			c.addf(path, "a step needs a command")
		}
		out = append(out, plan.Hook{Command: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir, Environment: c.environment(path, h.Environment)})
	}
	return out
}
