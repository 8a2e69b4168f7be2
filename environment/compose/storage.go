package compose

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// storage is what is mounted in a service.
func (c *converter) storage(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	at := child(path, "volumes")
	for _, v := range s.Volumes {
		if !filepath.IsAbs(v.Target) {
			c.addItemf(at, mountedAt(v.Target), "an entry needs an absolute target, not %q", v.Target)
			continue
		}
		switch v.Type {
		case types.VolumeTypeBind:
			c.bind(at, v, out)
		case types.VolumeTypeVolume:
			c.volumeMount(at, v, out)
		case types.VolumeTypeTmpfs:
			m := service.Mount{Kind: service.Tmpfs, Target: v.Target, ReadOnly: v.ReadOnly}
			if v.Tmpfs != nil && v.Tmpfs.Size != 0 {
				m.Options = append(m.Options, fmt.Sprintf("size=%d", v.Tmpfs.Size))
			}
			if v.Tmpfs != nil && v.Tmpfs.Mode != 0 {
				m.Options = append(m.Options, fmt.Sprintf("mode=%04o", v.Tmpfs.Mode))
			}
			if v.Source != "" {
				c.addItemf(at, mountedAt(v.Target), "a tmpfs has no source; leave it out")
			}
			out.Sandbox.Mounts = append(out.Sandbox.Mounts, m)
		default:
			c.refusef(at, "a volume of type %q is not supported; write bind, volume or tmpfs", v.Type)
		}
	}
	for _, text := range s.Tmpfs {
		m, err := service.ParseTmpfs(text)
		if err != nil {
			c.addItemf(child(path, "tmpfs"), written(text), "%v", err)
			continue
		}
		out.Sandbox.Mounts = append(out.Sandbox.Mounts, m)
	}
}

func (c *converter) bind(path []string, v types.ServiceVolumeConfig, out *plan.ServiceRequest) {
	m := service.Mount{Kind: service.Bind, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
	if v.Source == "" {
		c.addItemf(path, mountedAt(v.Target), "a bind needs a source")
		return
	}
	if b := v.Bind; b != nil {
		m.Propagation = b.Propagation
		if m.Propagation != "" && !service.IsPropagation(m.Propagation) {
			c.addf(path, "%q is no mount propagation; write private, rprivate, shared, rshared, slave or rslave", m.Propagation)
		}
		if b.Recursive != "" && b.Recursive != "enabled" {
			c.refusef(path, "recursive: %s is not supported; leave it out", b.Recursive)
		}
	}
	if _, err := os.Stat(v.Source); err != nil {
		c.addItemf(path, mountedAt(v.Target), "%s of the host; make it, or leave it out", reason(err))
	}
	out.Sandbox.Mounts = append(out.Sandbox.Mounts, m)
}

func (c *converter) volumeMount(path []string, v types.ServiceVolumeConfig, out *plan.ServiceRequest) {
	options := types.ServiceVolumeVolume{}
	if v.Volume != nil {
		options = *v.Volume
	}
	if v.Source == "" {
		out.Sandbox.Mounts = append(out.Sandbox.Mounts, service.Mount{Kind: service.Volume, Target: v.Target, ReadOnly: v.ReadOnly, NoCopy: options.NoCopy})
		return
	}
	if options.Subpath != "" && !filepath.IsLocal(options.Subpath) {
		c.addf(path, "the subpath %q leaves the volume; write one that does not", options.Subpath)
	}
	c.used["volumes."+v.Source] = true
	out.Volumes = append(out.Volumes, plan.VolumeMount{Volume: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, NoCopy: options.NoCopy, Subpath: options.Subpath})
}

// volume is one of the environment's.
func (c *converter) volume(name string, v types.VolumeConfig) plan.Volume {
	path := []string{"volumes", name}
	out := plan.Volume{Name: name}
	if !service.IsName(name) {
		c.addf(path, "%q is no name here: write letters, digits, _ . and - after a letter or digit", name)
	}
	if v.Driver != "" && v.Driver != "local" {
		c.refusef(child(path, "driver"), "%q is not supported; write local, or leave it out", v.Driver)
		return out
	}
	for _, option := range slices.Sorted(maps.Keys(v.DriverOpts)) {
		if !slices.Contains([]string{"type", "o", "device", "size"}, option) {
			c.refusef(append(child(path, "driver_opts"), option), "this option is not supported; there are type, o and device")
		}
	}
	kind, device := v.DriverOpts["type"], v.DriverOpts["device"]
	var options []string
	for option := range strings.SplitSeq(v.DriverOpts["o"], ",") {
		if option = strings.TrimSpace(option); option != "" {
			options = append(options, option)
		}
	}
	at := child(path, "driver_opts")
	switch {
	case len(v.DriverOpts) == 0:
	case kind == "tmpfs":
		out.Tmpfs, out.Options = true, options
		if size := v.DriverOpts["size"]; size != "" {
			out.Options = append(out.Options, "size="+size)
		}
	case (kind == "none" || kind == "" || kind == "bind") && slices.Contains(options, "bind") || kind == "bind":
		out.Source = device
		if !filepath.IsAbs(device) {
			out.Source = filepath.Join(c.sources.dir, device)
		}
		if info, err := os.Stat(out.Source); err != nil || !info.IsDir() || device == "" {
			c.addf(at, "there is no directory %q; make it, or name another", device)
		}
		for _, option := range options {
			if option != "bind" && option != "rbind" {
				c.refusef(at, "the option %q of a directory is not supported; leave it out, and write :ro at the mount for a read-only one", option)
			}
		}
	default:
		c.refusef(at, "a volume of type %q is not supported; there are type: none with o: bind, and type: tmpfs", kind)
	}
	return out
}
