package service

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mount adds what the service and the image want mounted, parents before what is
// below them. A mount of the service replaces a default one and an image's
// volume at the same place.
func (in Input) mount(p *Plan, spec *specs.Spec) {
	s := in.Service
	var added []specs.Mount
	names := map[string]bool{}
	for _, m := range slices.Concat(s.Mounts, in.imageVolumes()) {
		switch m.Kind {
		case Bind:
			added = append(added, bindMount(m.Source, m))
		case Volume:
			at := path.Join(VolumesDir, volumeName(m, names))
			p.Volumes = appendVolume(p.Volumes, BundleVolume{Path: at, Target: path.Clean(m.Target), NoCopy: m.NoCopy})
			added = append(added, bindMount(at, m))
		case Tmpfs:
			options := slices.Concat([]string{"nosuid", "nodev", "noexec"}, m.Options)
			if m.ReadOnly {
				options = append(options, "ro")
			}
			added = append(added, specs.Mount{Destination: path.Clean(m.Target), Type: "tmpfs", Source: "tmpfs", Options: options})
		}
	}
	for _, secret := range s.Secrets {
		added = append(added, specs.Mount{
			Destination: path.Clean(secret.Target), Type: "bind", Source: path.Join(SecretsDir, secret.Name),
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	taken := func(target string) bool {
		return slices.ContainsFunc(added, func(m specs.Mount) bool { return m.Destination == target })
	}
	for target, content := range in.networkFiles() {
		if taken(target) {
			continue
		}
		at := path.Join(FilesDir, path.Base(target))
		p.Files[at] = content
		added = append(added, specs.Mount{Destination: target, Type: "bind", Source: at, Options: []string{"bind", "nosuid", "nodev", "noexec", "rprivate"}})
	}
	if s.HostNetwork && !taken("/etc/resolv.conf") {
		added = append(added, specs.Mount{
			Destination: "/etc/resolv.conf", Type: "bind", Source: "/etc/resolv.conf",
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	slices.SortStableFunc(added, func(a, b specs.Mount) int {
		if d := strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/"); d != 0 {
			return d
		}
		return strings.Compare(a.Destination, b.Destination)
	})
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return taken(m.Destination) })
	for i, m := range spec.Mounts {
		if m.Destination == "/dev/shm" && s.ShmSize > 0 {
			spec.Mounts[i].Options = replaceOption(m.Options, "size=", fmt.Sprintf("size=%d", s.ShmSize))
		}
	}
	spec.Mounts = append(spec.Mounts, added...)
}

// imageVolumes are those of the image at whose place the service mounts nothing.
func (in Input) imageVolumes() []Mount {
	var out []Mount
	for _, target := range slices.Sorted(maps.Keys(in.Image.Config.Volumes)) {
		clean := path.Join("/", target)
		if clean == "/" || slices.ContainsFunc(in.Service.Mounts, func(m Mount) bool { return path.Clean(m.Target) == clean }) {
			continue
		}
		out = append(out, Mount{Kind: Volume, Target: clean})
	}
	return out
}

// volumeName returns the name of a volume's directory: its own, or one made of its
// target, which no other has: names of volumes do not begin with "_".
func volumeName(m Mount, taken map[string]bool) string {
	if m.Source != "" {
		return m.Source
	}
	base := "_" + strings.ReplaceAll(strings.Trim(path.Clean(m.Target), "/"), "/", "-")
	name := base
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	taken[name] = true
	return name
}

// appendVolume keeps one entry for a volume that is mounted twice.
func appendVolume(list []BundleVolume, v BundleVolume) []BundleVolume {
	if slices.ContainsFunc(list, func(have BundleVolume) bool { return have.Path == v.Path }) {
		return list
	}
	return append(list, v)
}

func bindMount(source string, m Mount) specs.Mount {
	propagation := m.Propagation
	if propagation == "" {
		propagation = "rprivate"
	}
	options := []string{"rbind", propagation}
	if m.ReadOnly {
		// rro, not ro: mounts below the source would stay writable (Linux 5.12).
		options = append(options, "rro")
	}
	return specs.Mount{Destination: path.Clean(m.Target), Type: "bind", Source: source, Options: options}
}

// networkFiles are those that an image leaves to who runs it.
func (in Input) networkFiles() map[string]string {
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if name := in.hostname(); name != "localhost" {
		hosts += "127.0.1.1\t" + name + "\n"
	}
	for _, h := range in.Service.ExtraHosts {
		hosts += h.Address + "\t" + h.Name + "\n"
	}
	return map[string]string{"/etc/hosts": hosts, "/etc/hostname": in.hostname() + "\n"}
}

func replaceOption(options []string, prefix, option string) []string {
	out := slices.DeleteFunc(slices.Clone(options), func(o string) bool { return strings.HasPrefix(o, prefix) })
	return append(out, option)
}
