package bundles

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (r *reader) linux() *specs.Linux {
	linux := new(specs.Linux)
	r.object(func(name string) {
		switch name {
		case "uidMappings":
			linux.UIDMappings = list(r, r.idMapping)
		case "gidMappings":
			linux.GIDMappings = list(r, r.idMapping)
		case "sysctl":
			linux.Sysctl = r.texts()
		case "resources":
			linux.Resources = r.resources()
		case "cgroupsPath":
			linux.CgroupsPath = r.text()
		case "namespaces":
			linux.Namespaces = list(r, r.namespace)
		case "devices":
			r.seldom(&linux.Devices)
		case "netDevices":
			r.seldom(&linux.NetDevices)
		case "seccomp":
			linux.Seccomp = r.seccomp()
		case "rootfsPropagation":
			linux.RootfsPropagation = r.text()
		case "maskedPaths":
			linux.MaskedPaths = list(r, r.text)
		case "readonlyPaths":
			linux.ReadonlyPaths = list(r, r.text)
		case "mountLabel":
			linux.MountLabel = r.text()
		case "intelRdt":
			r.seldom(&linux.IntelRdt)
		case "memoryPolicy":
			r.seldom(&linux.MemoryPolicy)
		case "personality":
			r.seldom(&linux.Personality)
		case "timeOffsets":
			r.seldom(&linux.TimeOffsets)
		default:
			r.fail()
		}
	})
	return linux
}

func (r *reader) idMapping() specs.LinuxIDMapping {
	var mapping specs.LinuxIDMapping
	r.object(func(name string) {
		switch name {
		case "containerID":
			mapping.ContainerID = uint32(r.natural(32))
		case "hostID":
			mapping.HostID = uint32(r.natural(32))
		case "size":
			mapping.Size = uint32(r.natural(32))
		default:
			r.fail()
		}
	})
	return mapping
}

func (r *reader) namespace() specs.LinuxNamespace {
	var ns specs.LinuxNamespace
	r.object(func(name string) {
		switch name {
		case "type":
			ns.Type = specs.LinuxNamespaceType(r.text())
		case "path":
			ns.Path = r.text()
		default:
			r.fail()
		}
	})
	return ns
}

func (r *reader) resources() *specs.LinuxResources {
	resources := new(specs.LinuxResources)
	r.object(func(name string) {
		switch name {
		case "devices":
			resources.Devices = list(r, r.deviceRule)
		case "memory":
			resources.Memory = r.memory()
		case "cpu":
			resources.CPU = r.cpu()
		case "pids":
			resources.Pids = r.pids()
		case "blockIO":
			r.seldom(&resources.BlockIO)
		case "hugepageLimits":
			r.seldom(&resources.HugepageLimits)
		case "network":
			r.seldom(&resources.Network)
		case "rdma":
			r.seldom(&resources.Rdma)
		case "unified":
			resources.Unified = r.texts()
		default:
			r.fail()
		}
	})
	return resources
}

func (r *reader) deviceRule() specs.LinuxDeviceCgroup {
	var rule specs.LinuxDeviceCgroup
	r.object(func(name string) {
		switch name {
		case "allow":
			rule.Allow = r.boolean()
		case "type":
			rule.Type = r.text()
		case "major":
			rule.Major = r.integerPointer()
		case "minor":
			rule.Minor = r.integerPointer()
		case "access":
			rule.Access = r.text()
		default:
			r.fail()
		}
	})
	return rule
}

func (r *reader) memory() *specs.LinuxMemory {
	memory := new(specs.LinuxMemory)
	r.object(func(name string) {
		switch name {
		case "limit":
			memory.Limit = r.integerPointer()
		case "reservation":
			memory.Reservation = r.integerPointer()
		case "swap":
			memory.Swap = r.integerPointer()
		case "swappiness":
			memory.Swappiness = r.naturalPointer()
		case "disableOOMKiller":
			memory.DisableOOMKiller = r.booleanPointer()
		case "useHierarchy":
			memory.UseHierarchy = r.booleanPointer()
		case "checkBeforeUpdate":
			memory.CheckBeforeUpdate = r.booleanPointer()
		default:
			r.fail()
		}
	})
	return memory
}

func (r *reader) cpu() *specs.LinuxCPU {
	cpu := new(specs.LinuxCPU)
	r.object(func(name string) {
		switch name {
		case "shares":
			cpu.Shares = r.naturalPointer()
		case "quota":
			cpu.Quota = r.integerPointer()
		case "burst":
			cpu.Burst = r.naturalPointer()
		case "period":
			cpu.Period = r.naturalPointer()
		case "realtimeRuntime":
			cpu.RealtimeRuntime = r.integerPointer()
		case "realtimePeriod":
			cpu.RealtimePeriod = r.naturalPointer()
		case "cpus":
			cpu.Cpus = r.text()
		case "mems":
			cpu.Mems = r.text()
		case "idle":
			cpu.Idle = r.integerPointer()
		default:
			r.fail()
		}
	})
	return cpu
}

func (r *reader) pids() *specs.LinuxPids {
	pids := new(specs.LinuxPids)
	r.object(func(name string) {
		if name != "limit" {
			r.fail()
			return
		}
		pids.Limit = r.integerPointer()
	})
	return pids
}

func (r *reader) seccomp() *specs.LinuxSeccomp {
	seccomp := new(specs.LinuxSeccomp)
	r.object(func(name string) {
		switch name {
		case "defaultAction":
			seccomp.DefaultAction = specs.LinuxSeccompAction(r.text())
		case "defaultErrnoRet":
			seccomp.DefaultErrnoRet = r.errnoPointer()
		case "architectures":
			seccomp.Architectures = list(r, func() specs.Arch { return specs.Arch(r.text()) })
		case "flags":
			seccomp.Flags = list(r, func() specs.LinuxSeccompFlag { return specs.LinuxSeccompFlag(r.text()) })
		case "listenerPath":
			seccomp.ListenerPath = r.text()
		case "listenerMetadata":
			seccomp.ListenerMetadata = r.text()
		case "syscalls":
			seccomp.Syscalls = list(r, r.syscall)
		default:
			r.fail()
		}
	})
	return seccomp
}

func (r *reader) syscall() specs.LinuxSyscall {
	var call specs.LinuxSyscall
	r.object(func(name string) {
		switch name {
		case "names":
			call.Names = list(r, r.text)
		case "action":
			call.Action = specs.LinuxSeccompAction(r.text())
		case "errnoRet":
			call.ErrnoRet = r.errnoPointer()
		case "args":
			call.Args = list(r, r.syscallArgument)
		default:
			r.fail()
		}
	})
	return call
}

func (r *reader) syscallArgument() specs.LinuxSeccompArg {
	var arg specs.LinuxSeccompArg
	r.object(func(name string) {
		switch name {
		case "index":
			arg.Index = uint(r.natural(strconv.IntSize))
		case "value":
			arg.Value = r.natural(64)
		case "valueTwo":
			arg.ValueTwo = r.natural(64)
		case "op":
			arg.Op = specs.LinuxSeccompOperator(r.text())
		default:
			r.fail()
		}
	})
	return arg
}

func (r *reader) errnoPointer() *uint {
	value := uint(r.natural(strconv.IntSize))
	return &value
}

func (r *reader) integerPointer() *int64 {
	value := r.integer(64)
	return &value
}

func (r *reader) naturalPointer() *uint64 {
	value := r.natural(64)
	return &value
}

func (r *reader) booleanPointer() *bool {
	value := r.boolean()
	return &value
}
