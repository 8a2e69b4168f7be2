package compose

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// converter makes a draft of what the library merged.
type converter struct {
	walk     *walk
	project  *types.Project
	sources  *sources
	options  Options
	problems Problems
	ignored  []Ignored
	// used are the volumes, secrets, configs and networks that services name.
	used map[string]bool
}

func (c *converter) draft() plan.Draft {
	d := plan.Draft{Plan: plan.Plan{Name: c.project.Name, Dir: c.sources.dir}}
	for _, f := range c.sources.files {
		d.Plan.Files = append(d.Plan.Files, f.path)
	}
	c.used = map[string]bool{}
	c.resolve()
	for _, name := range slices.Sorted(maps.Keys(c.project.Services)) {
		d.Services = append(d.Services, c.service(name, c.project.Services[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c.project.Networks)) {
		if c.used["networks."+name] {
			d.Networks = append(d.Networks, c.network(name, c.project.Networks[name]))
		}
	}
	if _, declared := c.project.Networks[defaultNetwork]; !declared && c.used["networks."+defaultNetwork] {
		d.Networks = append(d.Networks, plan.NetworkRequest{Name: defaultNetwork})
	}
	for _, name := range slices.Sorted(maps.Keys(c.project.Volumes)) {
		if c.used["volumes."+name] {
			d.Plan.Volumes = append(d.Plan.Volumes, c.volume(name, c.project.Volumes[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.project.Secrets)) {
		if c.used["secrets."+name] {
			d.Plan.Secrets = append(d.Plan.Secrets, c.secret("secrets", name, types.FileObjectConfig(c.project.Secrets[name])))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.project.Configs)) {
		if c.used["configs."+name] {
			d.Plan.Secrets = append(d.Plan.Secrets, c.secret("configs", name, types.FileObjectConfig(c.project.Configs[name])))
		}
	}
	c.sandboxOfProject(&d.Plan)
	return d
}

// resolve reads the services' env_files and label_files, after telling which are missing.
func (c *converter) resolve() {
	for name, s := range c.project.Services {
		s.EnvFiles = slices.DeleteFunc(slices.Clone(s.EnvFiles), func(f types.EnvFile) bool {
			return c.missing(child([]string{"services", name}, "env_file"), f.Path, bool(f.Required))
		})
		s.LabelFiles = slices.DeleteFunc(slices.Clone(s.LabelFiles), func(f string) bool {
			return c.missing([]string{"services", name, "label_file"}, f, true)
		})
		c.project.Services[name] = s
	}
	project, err := c.project.WithServicesEnvironmentResolved(true)
	if err == nil {
		project, err = project.WithServicesLabelsResolved(true)
	}
	if err != nil {
		var known Problems
		if errors.As(c.walk.explain(err), &known) {
			c.problems = append(c.problems, known...)
		}
		return
	}
	c.project = project
}

// missing tells whether there is no such file, which is a problem if it is required.
func (c *converter) missing(path []string, file string, required bool) bool {
	_, err := os.Stat(file)
	if err == nil {
		return false
	}
	if required {
		text := file
		if within, relErr := filepath.Rel(c.sources.dir, file); relErr == nil {
			text = within
		}
		names := func(value func(string) string) bool {
			return written(text)(value) || written("./"+text)(value) || written(file)(value)
		}
		c.addItemf(path, names, "%s; make it, or leave it out", reason(err))
	}
	return true
}

func (c *converter) service(name string, s types.ServiceConfig) plan.ServiceRequest {
	path := []string{"services", name}
	out := plan.ServiceRequest{
		Service: plan.Service{
			Name:       name,
			StopSignal: s.StopSignal,
			StopGrace:  defaultStopGrace,
			Init:       s.Init != nil && *s.Init,
			DNSSearch:  s.DNSSearch,
			DNSOpts:    s.DNSOpts,
			Attach:     s.Attach == nil || *s.Attach,
		},
		Replicas:      c.replicas(path, s),
		ContainerName: s.ContainerName,
	}
	if s.StopGracePeriod != nil {
		out.StopGrace = duration0(s.StopGracePeriod)
	}
	out.Sandbox = service.Service{
		Name:        name,
		Entrypoint:  s.Entrypoint,
		Command:     s.Command,
		Environment: c.environment(child(path, "environment"), s.Environment),
		User:        s.User,
		GroupAdd:    s.GroupAdd,
		WorkingDir:  s.WorkingDir,
		ReadOnly:    s.ReadOnly,
		CapAdd:      c.capabilities(s.CapAdd),
		CapDrop:     c.capabilities(s.CapDrop),
		Sysctls:     s.Sysctls,
		Hostname:    s.Hostname,
		Domainname:  s.DomainName,
		Terminal:    s.Tty,
		StopSignal:  s.StopSignal,
		Labels:      s.Labels,
		Annotations: s.Annotations,
	}
	c.image(path, s, &out)
	c.security(path, s, &out.Sandbox)
	c.limits(path, s, &out.Sandbox)
	c.storage(path, s, &out)
	c.grants(path, s, &out)
	c.hosts(path, s, &out.Sandbox)
	c.namespaces(path, s, &out)
	c.memberships(path, s, &out)
	c.ports(path, s, &out)
	c.dependencies(path, s, &out)
	c.health(path, s, &out)
	c.restart(path, s, &out)
	c.hooks(path, s, &out)
	c.logging(path, s, &out)
	return out
}

// environment is sorted by name; variables without a value are not set.
func (c *converter) environment(path []string, variables types.MappingWithEquals) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			c.addf(path, "%q is no name of a variable; look at the env_file too", name)
		}
		if value := variables[name]; value != nil {
			out = append(out, name+"="+*value)
		}
	}
	return out
}

// capabilities have been looked at by the walk, unless they come from a foreign file with variables.
func (c *converter) capabilities(names []string) []string {
	var out []string
	for _, name := range names {
		if full, err := service.CapabilityName(name); err == nil {
			name = full
		}
		out = append(out, name)
	}
	return out
}

// image decides what the root filesystem is made of.
func (c *converter) image(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	out.Image.Platform = s.Platform
	if s.Image != "" {
		out.Image.Source = "docker://" + s.Image
		out.Image.DockerDefaults = true
	}
	switch s.PullPolicy {
	case "", types.PullPolicyMissing, types.PullPolicyIfNotPresent:
	case types.PullPolicyAlways, types.PullPolicyNever:
		out.Image.Pull = s.PullPolicy
	case types.PullPolicyBuild:
		c.refusef(child(path, "pull_policy"), "nothing is built here; leave it out, and name an image that is built")
	default:
		c.refusef(child(path, "pull_policy"), "%q is not supported; write always, missing or never", s.PullPolicy)
	}
	before := len(c.problems)
	c.sandboxOfService(path, s, out)
	// Where build, provider or x-sandbox is an error, that is enough.
	told := (s.Build != nil || s.Provider != nil) && !c.options.IgnoreUnsupported || len(c.problems) > before
	if out.Image.Source == "" && !out.Image.Host && !told {
		c.addf(path, "it has neither image nor x-sandbox; write image: NAME, or x-sandbox: {rootfs: DIR}, {binary: FILE} or {host: true}")
	}
}

func (c *converter) security(path []string, s types.ServiceConfig, out *service.Service) {
	for _, option := range s.SecurityOpt {
		read := func(file string) ([]byte, error) {
			if !filepath.IsAbs(file) {
				file = filepath.Join(c.sources.dir, file)
			}
			data, err := readFile(file)
			if err != nil {
				return nil, errors.New(reason(err))
			}
			return data, nil
		}
		key, _, _ := strings.Cut(strings.Replace(option, ":", "=", 1), "=")
		if key == "label" || key == "systempaths" {
			c.refusef(child(path, "security_opt"), "%q is not supported; leave it out", option)
			continue
		}
		if err := out.SetSecurityOption(option, read); err != nil {
			c.addItemf(child(path, "security_opt"), written(option), "%s", strings.TrimPrefix(err.Error(), "security_opt: "))
		}
	}
}

// grants are the service's secrets and configs.
func (c *converter) grants(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	for _, secret := range s.Secrets {
		out.Grants = append(out.Grants, c.grant(child(path, "secrets"), types.FileReferenceConfig(secret), "", "/run/secrets", grantDefaults{-1, -1, 0o400}))
		c.used["secrets."+secret.Source] = true
	}
	for _, config := range s.Configs {
		out.Grants = append(out.Grants, c.grant(child(path, "configs"), types.FileReferenceConfig(config), plan.ConfigPrefix, "/", grantDefaults{0, 0, 0o444}))
		c.used["configs."+config.Source] = true
	}
}

// grantDefaults are who owns a file and how it may be used where nothing is said.
type grantDefaults struct {
	uid, gid int
	mode     fs.FileMode
}

func (c *converter) grant(path []string, f types.FileReferenceConfig, prefix, dir string, defaults grantDefaults) plan.Grant {
	g := plan.Grant{Secret: prefix + f.Source, Target: f.Target, UID: c.owner(path, f.Source, f.UID, defaults.uid), GID: c.owner(path, f.Source, f.GID, defaults.gid), Mode: defaults.mode}
	if g.Target == "" {
		g.Target = f.Source
	}
	if !filepath.IsAbs(g.Target) {
		g.Target = filepath.Join(dir, filepath.Join("/", g.Target))
	}
	g.Target = filepath.Clean(g.Target)
	if f.Mode != nil {
		g.Mode = fs.FileMode(*f.Mode)
		if *f.Mode < 0 || *f.Mode > 0o777 {
			c.addItemf(path, written(f.Source), "the mode %o of %q is none of a file; write for example 0444", *f.Mode, f.Source)
		}
	}
	return g
}

func (c *converter) owner(path []string, name, id string, unset int) int {
	if id == "" {
		return unset
	}
	n, err := parseID(id)
	if err != nil {
		c.addItemf(path, written(name), "%q is no number of a user or group, of %q; write one", id, name)
	}
	return n
}

// secret is where the content of a secret or config is to be had from.
func (c *converter) secret(key, name string, f types.FileObjectConfig) plan.Secret {
	path := []string{key, name}
	out := plan.Secret{Name: name, Redact: key == "secrets"}
	if !service.IsName(name) {
		c.addf(path, "%q is no name here: write letters, digits, _ . and - after a letter or digit", name)
	}
	if key == "configs" {
		out.Name = plan.ConfigPrefix + name
	}
	given := 0
	for _, isGiven := range []bool{f.File != "", f.Environment != "", key == "configs" && f.Environment == "" && f.Content != ""} {
		if isGiven {
			given++
		}
	}
	if (bool(f.External) || f.Driver != "" || f.TemplateDriver != "") && !c.options.IgnoreUnsupported {
		return out // that is an error already
	}
	forms := "file or environment"
	if key == "configs" {
		forms = "file, environment or content"
	}
	if given != 1 {
		c.addf(path, "it needs one of %s", forms)
		return out
	}
	switch {
	case f.File != "":
		out.File = f.File
		c.mustBeFile(path, f.File)
	case f.Environment != "":
		out.Variable = f.Environment
		if _, set := c.sources.variables[f.Environment]; !set {
			c.addf(child(path, "environment"), "the variable %s is not set; set it for this command", f.Environment)
		}
	default:
		out.Inline = f.Content
	}
	return out
}

func (c *converter) mustBeFile(path []string, file string) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		c.addf(child(path, "file"), "%s; make it, or name another", reason(err))
	case !info.Mode().IsRegular():
		c.addf(child(path, "file"), "%s is no regular file; name one", file)
	}
}
