package bundles

import (
	"encoding/json"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// decodePlain decodes a plain document: one whose members all have the names of the
// specification as they are written there, once each, and values of the right
// types. That is nearly every config.json. For anything else (an extension, a
// mistake, a null, another platform's section) it returns false, and encoding/json
// decides what it means. A fuzz test holds both to the same result.
//
// Why: encoding/json first looks at each type it could meet, by reflection, which
// costs a process that decodes one document 1.1 ms, ten times the decoding itself
// (BenchmarkDecodeOnce). Members that are seldom set are left to encoding/json here
// too, so that only the types of those that occur are looked at.
func decodePlain(data []byte) (*specs.Spec, bool) {
	r := &reader{data: data}
	spec := new(specs.Spec)
	r.object(func(name string) {
		switch name {
		case "ociVersion":
			spec.Version = r.text()
		case "process":
			spec.Process = r.process()
		case "root":
			spec.Root = r.root()
		case "hostname":
			spec.Hostname = r.text()
		case "domainname":
			spec.Domainname = r.text()
		case "mounts":
			spec.Mounts = list(r, r.mount)
		case "hooks":
			r.seldom(&spec.Hooks)
		case "annotations":
			spec.Annotations = r.texts()
		case "linux":
			spec.Linux = r.linux()
		default:
			r.fail()
		}
	})
	return spec, r.atEnd()
}

func (r *reader) process() *specs.Process {
	p := new(specs.Process)
	r.object(func(name string) {
		switch name {
		case "terminal":
			p.Terminal = r.boolean()
		case "user":
			p.User = r.user()
		case "args":
			p.Args = list(r, r.text)
		case "env":
			p.Env = list(r, r.text)
		case "cwd":
			p.Cwd = r.text()
		case "capabilities":
			p.Capabilities = r.capabilities()
		case "rlimits":
			p.Rlimits = list(r, r.rlimit)
		case "noNewPrivileges":
			p.NoNewPrivileges = r.boolean()
		case "apparmorProfile":
			p.ApparmorProfile = r.text()
		case "oomScoreAdj":
			value := int(r.integer(strconv.IntSize))
			p.OOMScoreAdj = &value
		case "selinuxLabel":
			p.SelinuxLabel = r.text()
		case "consoleSize":
			r.seldom(&p.ConsoleSize)
		case "scheduler":
			r.seldom(&p.Scheduler)
		case "ioPriority":
			r.seldom(&p.IOPriority)
		case "execCPUAffinity":
			r.seldom(&p.ExecCPUAffinity)
		default:
			r.fail()
		}
	})
	return p
}

func (r *reader) user() specs.User {
	var user specs.User
	r.object(func(name string) {
		switch name {
		case "uid":
			user.UID = uint32(r.natural(32))
		case "gid":
			user.GID = uint32(r.natural(32))
		case "umask":
			value := uint32(r.natural(32))
			user.Umask = &value
		case "additionalGids":
			user.AdditionalGids = list(r, func() uint32 { return uint32(r.natural(32)) })
		default:
			r.fail()
		}
	})
	return user
}

func (r *reader) capabilities() *specs.LinuxCapabilities {
	caps := new(specs.LinuxCapabilities)
	r.object(func(name string) {
		switch name {
		case "bounding":
			caps.Bounding = list(r, r.text)
		case "effective":
			caps.Effective = list(r, r.text)
		case "inheritable":
			caps.Inheritable = list(r, r.text)
		case "permitted":
			caps.Permitted = list(r, r.text)
		case "ambient":
			caps.Ambient = list(r, r.text)
		default:
			r.fail()
		}
	})
	return caps
}

func (r *reader) rlimit() specs.POSIXRlimit {
	var rlimit specs.POSIXRlimit
	r.object(func(name string) {
		switch name {
		case "type":
			rlimit.Type = r.text()
		case "hard":
			rlimit.Hard = r.natural(64)
		case "soft":
			rlimit.Soft = r.natural(64)
		default:
			r.fail()
		}
	})
	return rlimit
}

func (r *reader) root() *specs.Root {
	root := new(specs.Root)
	r.object(func(name string) {
		switch name {
		case "path":
			root.Path = r.text()
		case "readonly":
			root.Readonly = r.boolean()
		default:
			r.fail()
		}
	})
	return root
}

func (r *reader) mount() specs.Mount {
	var mount specs.Mount
	r.object(func(name string) {
		switch name {
		case "destination":
			mount.Destination = r.text()
		case "type":
			mount.Type = r.text()
		case "source":
			mount.Source = r.text()
		case "options":
			mount.Options = list(r, r.text)
		case "uidMappings":
			r.seldom(&mount.UIDMappings)
		case "gidMappings":
			r.seldom(&mount.GIDMappings)
		default:
			r.fail()
		}
	})
	return mount
}

// seldom lets encoding/json decode the next value.
func (r *reader) seldom(target any) {
	if raw := r.raw(); raw == nil || json.Unmarshal(raw, target) != nil {
		r.fail()
	}
}
