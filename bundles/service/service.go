package service

import (
	"io/fs"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// Service is one service. Zero values mean "not set". Paths on this host are
// absolute, paths in the sandbox are as written. It is a plain value and safe to
// read from several goroutines.
type Service struct {
	// Name is the default of Hostname.
	Name   string
	Source Source
	// Platform is OS/ARCHITECTURE[/VARIANT].
	Platform string
	// Entrypoint and Command: nil takes the image's, empty means none.
	Entrypoint, Command []string
	// Environment is NAME=VALUE, in order of writing, those of env_file first.
	Environment []string
	// User is user[:group], names or numbers, of the root filesystem.
	User       string
	GroupAdd   []string
	WorkingDir string

	Mounts  []Mount
	Secrets []Secret
	// ReadOnly makes the root filesystem read-only.
	ReadOnly bool

	CapAdd, CapDrop []string
	// NoNewPrivileges: nil is true.
	NoNewPrivileges *bool
	// SeccompUnconfined means no filter; else SeccompProfile, in docker's or
	// runtime-spec's form, or where that is empty the default profile.
	SeccompUnconfined bool
	SeccompProfile    []byte
	AppArmorProfile   string

	Limits cgroup.Limits
	// MemoryReservation is in bytes, ShmSize too.
	MemoryReservation, ShmSize int64
	CPUShares                  uint64
	OOMScoreAdj                *int
	Ulimits                    []Ulimit
	Sysctls                    map[string]string

	Hostname, Domainname string
	ExtraHosts           []Host
	// HostNetwork leaves out the network namespace.
	HostNetwork bool
	Terminal    bool
	StopSignal  string
	// Labels become annotations; Annotations win over them.
	Labels, Annotations map[string]string
}

// Source says where the root filesystem comes from.
type Source struct {
	// Text is what `bundle build` takes as SOURCE; empty for none.
	Text string
	// Dir is where relative paths in Text are meant from.
	Dir string
	// Files are put over what the source has.
	Files []File
}

// File is one file or directory of this host in the root filesystem.
type File struct {
	// Path on this host. Empty: Content is the content, or with Directory it is an
	// empty directory.
	Path      string
	Content   string
	Directory bool
	// Target is an absolute path in the sandbox.
	Target string
	// UID and GID own it.
	UID, GID int
	// Mode is the permission bits; 0 takes the file's own, 0644 for Content, 0755
	// for Directory.
	Mode fs.FileMode
}

// MountKind is the sort of a Mount.
type MountKind string

// The kinds of mounts.
const (
	// Bind shows a file or directory of this host.
	Bind MountKind = "bind"
	// Volume is a directory of the bundle's own that is filled from the root
	// filesystem when it is made.
	Volume MountKind = "volume"
	// Tmpfs is empty memory.
	Tmpfs MountKind = "tmpfs"
)

// Mount is something mounted in the sandbox.
type Mount struct {
	Kind MountKind
	// Source is a path on this host (Bind) or a name (Volume, empty: without one).
	Source   string
	Target   string
	ReadOnly bool
	// NoCopy leaves a volume empty.
	NoCopy bool
	// Propagation of a Bind; empty is rprivate.
	Propagation string
	// Options of a Tmpfs, as mount(8) has them: size=64m, mode=1777, exec.
	Options []string
}

// Secret is a file in the sandbox whose content nobody else is to read. Exactly
// one of File and Variable is set.
type Secret struct {
	Name string
	// File is a path on this host, Variable the name of an environment variable.
	File, Variable string
	// Target is an absolute path in the sandbox.
	Target string
	// UID and GID own it; a negative one is that of the program's user.
	UID, GID int
	// Mode is 0400 if it is 0.
	Mode fs.FileMode
}

// Ulimit is a resource limit of the first process.
type Ulimit struct {
	// Name as in setrlimit(2), lower case and without prefix: nofile.
	Name       string
	Soft, Hard uint64
}

// Host is a line of /etc/hosts.
type Host struct {
	Name, Address string
}
