package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runc/libcontainer"
)

// CheckpointOptions says how a container is saved.
type CheckpointOptions struct {
	CRIUOptions

	// LeaveRunning lets the container go on afterwards. Otherwise it is removed,
	// unless PreDump is set.
	LeaveRunning bool
	// PreDump saves memory only, for a later checkpoint that names this one's
	// ImageDir as its ParentImage. The container goes on.
	PreDump bool
	// ParentImage is the path, relative to ImageDir, of an earlier pre-dump, ""
	// for none.
	ParentImage string
	// TCPSkipInFlight leaves out connections that are being established.
	TCPSkipInFlight bool
	// LinkRemap gives names to files that are open and have none any more.
	LinkRemap bool
	// PageServer is the address of a criu page-server that takes the memory,
	// in place of ImageDir.
	PageServer PageServer
	// StatusFD is a descriptor that gets a zero byte, and is closed, when CRIU
	// serves pages (LazyPages). 0 and below is none.
	StatusFD int
}

// PageServer is where a criu page-server listens.
type PageServer struct {
	Host string
	Port uint16 // 0: there is none
}

// Checkpoint saves a running or paused container, so that Runtime.Restore can
// let it go on later or elsewhere. The error wraps ErrWrongState if there is no
// program to save, and ErrNoCRIU where CRIU is missing. On failure the container
// goes on as before; CRIU's log, dump.log, stays in the work directory.
//
// A container that is supervised by another process ends for that one by
// SIGKILL. ctx bounds the removal afterwards, not the work of CRIU.
func (c *Container) Checkpoint(ctx context.Context, opts CheckpointOptions) error {
	fresh, err := c.mayCheckpoint()
	if err != nil {
		return err
	}
	if err := fresh.dump(ctx, &opts); err != nil {
		return fmt.Errorf("cannot checkpoint container %q: %w", c.id, err)
	}
	if opts.LeaveRunning || opts.PreDump {
		return nil
	}
	if err := c.runtime.Delete(ctx, c.id, true); err != nil {
		c.runtime.log.Warn("the container is saved, but not removed", "id", c.id, "error", err)
	}
	return nil
}

// mayCheckpoint returns a handle that remembers nothing.
func (c *Container) mayCheckpoint() (*Container, error) {
	fresh, _, err := c.reload()
	if err != nil {
		return nil, err
	}
	status, err := fresh.status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Created || status == libcontainer.Stopped {
		return nil, fmt.Errorf("%w: cannot checkpoint container %q in the %s state", ErrWrongState, c.id, status)
	}
	rec, err := c.runtime.readRecord(c.id)
	if err != nil {
		return nil, err
	}
	switch {
	case rec != nil && rec.HostRoot != nil:
		return nil, fmt.Errorf("cannot checkpoint container %q: %w", c.id, errHostMounts)
	case rec != nil && rec.Init:
		return nil, fmt.Errorf("cannot checkpoint container %q: %w", c.id, errSealedPID1)
	}
	return fresh, nil
}

var errHostMounts = errors.New("it has no mount namespace of its own, and its mounts are the host's; add the namespace to the spec")

// errSealedPID1: it is executed from a copy in memory (CVE-2019-5736), which
// CRIU finds nowhere when it restores.
var errSealedPID1 = errors.New("CRIU cannot restore the PID 1 of --init; run it without")

// dump lets CRIU save the container.
func (c *Container) dump(ctx context.Context, opts *CheckpointOptions) error {
	if err := requireCRIU(ctx); err != nil {
		return err
	}
	if err := opts.prepare(); err != nil {
		return err
	}
	wasPaused, err := c.isPaused()
	if err != nil {
		return err
	}
	request := opts.libcontainer()
	request.LeaveRunning = opts.LeaveRunning
	request.PreDump = opts.PreDump
	request.ParentImage = opts.ParentImage
	request.TcpSkipInFlight = opts.TCPSkipInFlight
	request.LinkRemap = opts.LinkRemap
	request.PageServer = libcontainer.CriuPageServerInfo{Address: opts.PageServer.Host, Port: int32(opts.PageServer.Port)}
	if opts.StatusFD > 0 {
		request.StatusFd = opts.StatusFD
	}

	began := time.Now()
	if err := c.runtime.keepCgroupOptions(request.LazyPages, func() error { return c.lc.Checkpoint(request) }); err != nil {
		err = explainCRIU(err, filepath.Join(opts.logDir(), "dump.log"), began)
		return errors.Join(err, c.thaw(wasPaused))
	}
	c.runtime.log.Debug("saved", "id", c.id, "took", time.Since(began))
	return nil
}

func (o *CheckpointOptions) prepare() error {
	if o.ImageDir == "" {
		return errNoImageDir
	}
	if err := checkAbsolute(o.ImageDir, o.WorkDir); err != nil {
		return err
	}
	if err := errors.Join(makePrivateDir(o.ImageDir), makePrivateDir(o.logDir())); err != nil {
		return err
	}
	if o.ParentImage == "" {
		return nil
	}
	if filepath.IsAbs(o.ParentImage) {
		return fmt.Errorf("the path of the parent image, %q, is not relative to the image directory", o.ParentImage)
	}
	parent := filepath.Join(o.ImageDir, o.ParentImage)
	info, err := os.Stat(parent)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("the parent image %q is no directory", parent)
	}
	return err
}

func (c *Container) isPaused() (bool, error) {
	status, err := c.status()
	return status == libcontainer.Paused, err
}

// thaw lets a container go on that was not paused before: a CRIU that was
// killed leaves the freezer as it needed it.
func (c *Container) thaw(wasPaused bool) error {
	if wasPaused {
		return nil
	}
	fresh, status, err := c.reload()
	if err != nil || status != libcontainer.Paused {
		return err
	}
	return fresh.Resume()
}
