package environment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/sockets"
	"github.com/sandboxrun/sandboxrun/network/egress"
)

// LeftoverKind is what sort of thing was left.
type LeftoverKind string

// The kinds of leftovers.
const (
	LeftProcess LeftoverKind = "process"
	LeftCgroup  LeftoverKind = "cgroup"
	LeftMount   LeftoverKind = "mount"
	LeftNetwork LeftoverKind = "network" // an interface or an nftables table of the host
	LeftFile    LeftoverKind = "file"
	LeftLease   LeftoverKind = "lease in the store"
	LeftSocket  LeftoverKind = "listening socket"
)

// Leftover is something of an environment that is there after its end.
type Leftover struct {
	Kind LeftoverKind `json:"kind"`
	// Name is a process id, a path, a lease, an address, or "interface X".
	Name string `json:"name"`
}

func (l Leftover) String() string { return string(l.Kind) + " " + l.Name }

// Audit looks for what is left of an environment that was removed. The record is
// from before, and so is opts, which says what was to stay. An environment of that
// name that was started since is not taken for a leftover of this one.
func Audit(ctx context.Context, record *Record, opts RemoveOptions) ([]Leftover, error) {
	// Whoever holds the name now has made what bears it.
	if again, err := record.Roots.Alive(record.Name); err != nil || again {
		return nil, err
	}
	a := audit{record: record, paths: record.Paths()}
	var problems []error
	for _, look := range []func() error{
		a.cgroups, a.mounts, a.egress, func() error { return a.files(opts.KeepVolumes) }, a.leases, a.ports,
	} {
		if ctx.Err() != nil {
			problems = append(problems, context.Cause(ctx))
			break
		}
		if err := look(); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return a.found, fmt.Errorf("look for what environment %q left: %w", record.Name, err)
	}
	return a.found, nil
}

type audit struct {
	record *Record
	paths  Paths
	found  []Leftover
}

func (a *audit) add(kind LeftoverKind, name string) {
	a.found = append(a.found, Leftover{Kind: kind, Name: name})
}

func (a *audit) cgroups() error {
	if len(a.record.Cgroups) == 0 {
		return nil
	}
	group, err := cgroup.Open(a.record.Cgroups)
	if err != nil {
		return err
	}
	existing := group.Existing()
	if len(existing) == 0 {
		return nil
	}
	pids, err := group.Processes()
	for _, pid := range pids {
		a.add(LeftProcess, fmt.Sprint(pid))
	}
	for _, dir := range existing {
		a.add(LeftCgroup, dir)
	}
	return err
}

func (a *audit) mounts() error {
	below, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !isBelow(m.Mountpoint, a.paths.Dir) && !isBelow(m.Mountpoint, a.paths.Data), false
	})
	for _, m := range below {
		a.add(LeftMount, m.Mountpoint)
	}
	return err
}

func isBelow(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// egress looks for the host's half of egress.
func (a *audit) egress() error {
	if a.record.Egress == "" {
		return nil
	}
	remains, err := egress.Remains(a.record.Egress)
	for _, name := range remains {
		a.add(LeftNetwork, name)
	}
	return err
}

func (a *audit) files(keepVolumes bool) error {
	// Not the lock's: Alive has taken it, and a GC beside us may be looking at it.
	if _, err := os.Lstat(a.paths.Dir); err == nil {
		a.add(LeftFile, a.paths.Dir)
	}
	if !keepVolumes {
		if _, err := os.Lstat(a.paths.Data); err == nil {
			a.add(LeftFile, a.paths.Data)
		}
		return nil
	}
	beside, err := besideVolumes(a.paths)
	for _, path := range beside {
		a.add(LeftFile, path)
	}
	return err
}

func (a *audit) leases() error {
	st, err := existingStore(a.record.Roots.Data)
	if st == nil || err != nil {
		return err
	}
	leases, err := st.HeldBelow(a.paths.Data)
	for _, name := range leases {
		a.add(LeftLease, name)
	}
	return err
}

// ports looks for the very sockets that were opened: another process may have the
// same ports by now.
func (a *audit) ports() error {
	var protocols []string
	for _, p := range a.record.Ports {
		protocols = append(protocols, p.Protocol)
	}
	slices.Sort(protocols)
	for _, protocol := range slices.Compact(protocols) {
		waiting, err := sockets.Waiting(protocol)
		if err != nil {
			return err
		}
		for _, p := range a.record.Ports {
			if p.Protocol == protocol && slices.ContainsFunc(waiting, func(s sockets.Socket) bool { return s.Inode == p.Inode }) {
				a.add(LeftSocket, p.Protocol+" "+netip.AddrPortFrom(p.HostIP, p.HostPort).String())
			}
		}
	}
	return nil
}
