package main

import (
	"fmt"
	"strconv"
	"strings"
)

// qemu is the emulator's program, looked up in PATH.
const qemu = "qemu-system-x86_64"

// accelerator is how QEMU runs the guest's instructions.
type accelerator string

const (
	accelKVM accelerator = "kvm"
	accelTCG accelerator = "tcg"
)

// drive is one raw disk of a machine. The guest tells disks apart by serial,
// since their order isn't promised.
type drive struct {
	serial string
	// path may be /proc/self/fd/N, N being a descriptor of QEMU's.
	path string
	// scratch keeps path unchanged: writes go to an overlay that QEMU makes
	// without a name and drops at its end.
	scratch bool
}

// port is one virtio serial port: name is what the guest finds it by, fd a
// descriptor of QEMU's that is a connected stream socket.
type port struct {
	name string
	fd   int
}

// machine is a QEMU process as a value.
type machine struct {
	accel  accelerator
	memory int64 // bytes
	cpus   int
	kernel string
	initrd string
	drives []drive
	ports  []port
	// console is the descriptor of QEMU's for the guest's serial console;
	// -1 is QEMU's own stdin and stdout.
	console int
}

// args returns QEMU's arguments without its name. The same machine gives the
// same arguments.
func (m machine) args() []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none", "-vga", "none", "-monitor", "none", "-nic", "none",
		"-m", strconv.FormatInt(m.memory>>20, 10) + "M",
		"-smp", strconv.Itoa(m.cpus),
	}
	// q35: under load microvm hung in most boots while calibrating its clock.
	switch m.accel {
	case accelKVM:
		args = append(args, "-machine", "q35", "-accel", "kvm", "-cpu", "host")
	default:
		args = append(args, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64,-cx16")
	}
	args = append(args, "-kernel", m.kernel, "-initrd", m.initrd, "-append", kernelCommandLine())

	console := "stdio,id=console,signal=off"
	if m.console >= 0 {
		console = fmt.Sprintf("socket,id=console,fd=%d", m.console)
	}
	args = append(args, "-chardev", console, "-serial", "chardev:console")

	args = append(args, "-device", "virtio-rng-pci", "-device", "virtio-serial-pci")
	for _, p := range m.ports {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", p.name, p.fd),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", p.name, p.name))
	}
	for _, d := range m.drives {
		snapshot := "off"
		if d.scratch {
			snapshot = "on"
		}
		// unsafe: no disk of a run has to survive a crash of the host.
		args = append(args,
			"-drive", fmt.Sprintf("if=none,id=%s,format=raw,cache=unsafe,discard=unmap,snapshot=%s,file=%s",
				d.serial, snapshot, escapeOption(d.path)),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,serial=%s", d.serial, d.serial))
	}
	return args
}

// kernelCommandLine returns the guest kernel's parameters.
func kernelCommandLine() string {
	return strings.Join([]string{
		"console=ttyS0", "loglevel=4",
		"cgroup_no_v1=all",
		// Debian's kernel has pressure figures built in but switched off.
		"psi=1",
		// With -no-reboot a panic and a power-off both end QEMU.
		"panic=-1", "reboot=t",
		// A guest that lives for one command defends nothing.
		"mitigations=off", "init_on_alloc=0", "audit=0",
		"random.trust_cpu=on",
	}, " ")
}

// escapeOption quotes a value inside one of QEMU's comma-separated options.
func escapeOption(value string) string {
	return strings.ReplaceAll(value, ",", ",,")
}
