package service

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// Input is what a plan is made from.
type Input struct {
	Service Service
	// Image is the image's configuration; the zero value for none.
	Image manifest.Config
	// DockerDefaults takes what docker gives a container where the service says
	// nothing: its capabilities and the ports below 1024 for everybody. That is for
	// images, which were made for it. Without, the sandbox has the few of
	// bundles.Default.
	DockerDefaults bool
	Accounts       Accounts
	// Rootless makes a configuration that the calling user can run.
	Rootless bool
	// Edit changes the finished configuration, before it is judged; nil: nothing.
	Edit func(*specs.Spec) error
}

// Plan is a bundle as values. Paths in Spec that are not absolute are meant from
// the bundle's directory.
type Plan struct {
	Spec *specs.Spec
	// Files are the contents of the files that Spec binds, by path in the bundle.
	Files map[string]string
	// Volumes are the directories that Spec binds.
	Volumes []BundleVolume
	// Secrets are files of these names in SecretsDir.
	Secrets []Secret
}

// BundleVolume is a directory of the bundle.
type BundleVolume struct {
	// Path in the bundle's directory.
	Path string
	// Target is where it is mounted, and what it is filled from.
	Target string
	NoCopy bool
}

// SecretsDir, VolumesDir and FilesDir are names in a bundle's directory.
const (
	SecretsDir = "secrets"
	VolumesDir = "volumes"
	FilesDir   = "etc"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Make returns the plan for in. The error wraps ErrNoCommand, ErrUser,
// cgroup.ErrInvalidLimit, bundles' *SpecErrors or what in.Edit gives.
func Make(in Input) (Plan, error) {
	id, err := in.Accounts.identify(in.user(), in.Service.GroupAdd)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Files: map[string]string{}, Secrets: ownedSecrets(in.Service.Secrets, id)}
	var problem error
	p.Spec, err = bundles.Default(func(spec *specs.Spec) { problem = in.fill(&p, spec, id) })
	if err == nil {
		err = problem
	}
	if err == nil {
		err = in.filter(p.Spec)
	}
	if err == nil && in.Edit != nil {
		err = in.Edit(p.Spec)
	}
	if err == nil && p.Spec.Process != nil && len(p.Spec.Process.Args) == 0 {
		err = fmt.Errorf("cannot make a bundle: %w: neither the service nor the image names one; set command", ErrNoCommand)
	}
	if err == nil {
		err = bundles.Validate(p.Spec)
	}
	if err != nil {
		return Plan{}, err
	}
	return p, nil
}

// ownedSecrets gives those without an owner to the user of the program.
func ownedSecrets(secrets []Secret, id identity) []Secret {
	secrets = slices.Clone(secrets)
	for i := range secrets {
		if secrets[i].UID < 0 {
			secrets[i].UID = int(id.uid)
		}
		if secrets[i].GID < 0 {
			secrets[i].GID = int(id.gid)
		}
	}
	return secrets
}

// fill sets everything but the seccomp filter, which depends on it.
func (in Input) fill(p *Plan, spec *specs.Spec, id identity) error {
	s := in.Service
	spec.Root.Readonly = s.ReadOnly
	spec.Hostname, spec.Domainname = in.hostname(), s.Domainname
	process := spec.Process
	process.Terminal = s.Terminal
	process.Args = in.args()
	process.Env = in.environment(id)
	process.Cwd = in.workingDir()
	process.User = specs.User{UID: id.uid, GID: id.gid, AdditionalGids: id.groups}
	process.NoNewPrivileges = s.NoNewPrivileges == nil || *s.NoNewPrivileges
	process.ApparmorProfile = s.AppArmorProfile
	process.OOMScoreAdj = s.OOMScoreAdj
	in.limitProcess(process)
	in.grant(process, id)
	if s.HostNetwork {
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	}
	in.mount(p, spec)
	spec.Linux.Sysctl = in.sysctls()
	spec.Annotations = in.annotations()
	if in.Rootless {
		bundles.Rootless(spec)
	}
	return in.limit(spec)
}

// filter sets the seccomp profile, once capabilities and architecture are known.
func (in Input) filter(spec *specs.Spec) error {
	switch {
	case in.Service.SeccompUnconfined:
		spec.Linux.Seccomp = nil
	case in.Service.SeccompProfile != nil:
		profile, err := seccomp.LoadProfile(string(in.Service.SeccompProfile), spec)
		if err != nil {
			return fmt.Errorf("cannot use the seccomp profile: %w; write it as docker does, or leave it out", err)
		}
		spec.Linux.Seccomp = profile
	}
	return nil
}

func (in Input) user() string {
	if in.Service.User != "" {
		return in.Service.User
	}
	return in.Image.Config.User
}

// args joins entrypoint and command: a service's entrypoint makes the image's
// command void (moby, runconfig/merge.go).
func (in Input) args() []string {
	entrypoint, command := in.Service.Entrypoint, in.Service.Command
	if entrypoint == nil {
		entrypoint = in.Image.Config.Entrypoint
		if command == nil {
			command = in.Image.Config.Cmd
		}
	}
	return slices.Concat(entrypoint, command)
}

// environment is docker's: its own variables, the image's, the service's, each
// replacing in place what has its name, and HOME of the user.
func (in Input) environment(id identity) []string {
	env := []string{defaultPath, "HOSTNAME=" + in.hostname()}
	if in.Service.Terminal {
		env = append(env, "TERM=xterm")
	}
	env = mergeEnvironment(env, in.Image.Config.Env)
	env = mergeEnvironment(env, in.Service.Environment)
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "HOME=") }) {
		env = append(env, "HOME="+id.home)
	}
	return env
}

func mergeEnvironment(env, over []string) []string {
	for _, variable := range over {
		name, _, _ := strings.Cut(variable, "=")
		at := slices.IndexFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		if at < 0 {
			env = append(env, variable)
		} else {
			env[at] = variable
		}
	}
	return env
}

func (in Input) workingDir() string {
	for _, dir := range []string{in.Service.WorkingDir, in.Image.Config.WorkingDir} {
		if dir != "" {
			return path.Join("/", dir)
		}
	}
	return "/"
}

func (in Input) hostname() string {
	for _, name := range []string{in.Service.Hostname, in.Service.Name} {
		if name != "" {
			return name
		}
	}
	return "sandboxrun"
}

// grant sets the capabilities. A program that is not root has none to begin with,
// as execve(2) would leave it; the bounding set is what a set-user-ID program
// could get.
func (in Input) grant(process *specs.Process, id identity) {
	base := process.Capabilities.Bounding
	if in.DockerDefaults {
		base = dockerCapabilities
	}
	names := granted(base, in.Service.CapAdd, in.Service.CapDrop)
	process.Capabilities = &specs.LinuxCapabilities{Bounding: names}
	if id.uid == 0 {
		process.Capabilities.Effective, process.Capabilities.Permitted = slices.Clone(names), slices.Clone(names)
	}
}

// limitProcess leaves an image's program the limits of the caller, as docker does
// with its daemon's: what bundles.Default sets is few files for a server.
func (in Input) limitProcess(process *specs.Process) {
	if in.DockerDefaults {
		process.Rlimits = nil
	}
	for _, u := range in.Service.Ulimits {
		kind := "RLIMIT_" + strings.ToUpper(u.Name)
		process.Rlimits = slices.DeleteFunc(process.Rlimits, func(r specs.POSIXRlimit) bool { return r.Type == kind })
		process.Rlimits = append(process.Rlimits, specs.POSIXRlimit{Type: kind, Soft: u.Soft, Hard: u.Hard})
	}
}

func (in Input) limit(spec *specs.Spec) error {
	s := in.Service
	r := spec.Linux.Resources
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if err := s.Limits.Apply(r); err != nil {
		return err
	}
	if s.MemoryReservation != 0 {
		if r.Memory == nil {
			r.Memory = &specs.LinuxMemory{}
		}
		r.Memory.Reservation = &s.MemoryReservation
	}
	if s.CPUShares != 0 {
		if r.CPU == nil {
			r.CPU = &specs.LinuxCPU{}
		}
		r.CPU.Shares = &s.CPUShares
	}
	if spec.Linux.Resources != nil || r.Memory != nil || r.CPU != nil || r.Pids != nil {
		spec.Linux.Resources = r
	}
	return nil
}

// sysctls has docker's default that lets everybody listen on ports below 1024 of
// a network namespace that is the sandbox's own.
func (in Input) sysctls() map[string]string {
	all := map[string]string{}
	if in.DockerDefaults && !in.Service.HostNetwork && !in.Rootless {
		all["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	maps.Copy(all, in.Service.Sysctls)
	if len(all) == 0 {
		return nil
	}
	return all
}

// annotations follow the image-spec (conversion.md, "Annotation Fields"); labels
// of the same name win, and what the service says over the image.
func (in Input) annotations() map[string]string {
	const prefix = "org.opencontainers.image."
	all := map[string]string{}
	image := in.Image
	stop := in.Service.StopSignal
	if stop == "" {
		stop = image.Config.StopSignal
	}
	for key, value := range map[string]string{
		"os": image.OS, "architecture": image.Architecture, "variant": image.Variant, "author": image.Author,
		"stopSignal": stop, "exposedPorts": strings.Join(slices.Sorted(maps.Keys(image.Config.ExposedPorts)), ","),
	} {
		if value != "" {
			all[prefix+key] = value
		}
	}
	if image.Created != nil {
		all[prefix+"created"] = image.Created.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
	}
	maps.Copy(all, image.Config.Labels)
	maps.Copy(all, in.Service.Labels)
	maps.Copy(all, in.Service.Annotations)
	delete(all, "")
	if len(all) == 0 {
		return nil
	}
	return all
}
