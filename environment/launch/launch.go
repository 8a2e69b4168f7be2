package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

const (
	// answerTimeout is how long a supervisor may take until it answers. It does so
	// before it starts any service.
	answerTimeout = 30 * time.Second
	// undoTimeout bounds the undoing of a launch that failed.
	undoTimeout = 20 * time.Second
)

// Options say what is launched, and how.
type Options struct {
	Roots environment.Roots
	// Plan is complete: its images are in the store. It is not changed.
	Plan *plan.Plan
	// Executable is the absolute path of sandboxrun. Flags are global flags for it, such
	// as those of its log.
	Executable string
	Flags      []string
	// DieWithParent ends the environment when this process ends, however it does. Else it
	// lives on.
	DieWithParent bool
	// KeepOnFailure leaves services up when a start fails.
	KeepOnFailure bool
	// Lookup gives the contents of secrets that are variables.
	Lookup func(variable string) (string, bool)
	// IgnoreMissing goes on without the limits that this host cannot enforce.
	IgnoreMissing bool
}

// Launched is an environment that was brought to life.
type Launched struct {
	Record *environment.Record
	// Client asks its supervisor.
	Client *control.Client
	// Notices are sentences for the user: what was changed on the host, or may be in the way.
	Notices []string

	process *process
}

// Done is closed when the supervisor has ended; the record's Remove is next.
func (l *Launched) Done() <-chan struct{} { return l.process.done }

// Err is how the supervisor ended; nil while it lives, and if it ended well.
func (l *Launched) Err() error {
	select {
	case <-l.process.done:
		return l.process.err
	default:
		return nil
	}
}

// Kill ends the supervisor by SIGKILL, and the kernel everything else of the
// environment, and waits for that.
func (l *Launched) Kill() {
	l.process.kill()
}

// Launch brings an environment to life and returns when its supervisor answers: its
// services are being started then. An environment of that name that died before is
// removed first. On every error, and when ctx ends, everything is undone. The error
// wraps environment.ErrExists, ErrPortInUse, ErrSecret, ErrLimits, ErrSupervisor, …
//
// It is safe to call it at the same time for several environments.
func Launch(ctx context.Context, opts Options) (_ *Launched, retErr error) {
	// What can be known to fail before anything is made.
	if err := environment.CheckName(opts.Plan.Name); err != nil {
		return nil, err
	}
	secrets, err := readSecrets(opts.Plan.Secrets, opts.Lookup)
	if err != nil {
		return nil, err
	}
	groups, err := planGroups(opts)
	if err != nil {
		return nil, err
	}

	claim, err := opts.Roots.Claim(ctx, opts.Plan.Name)
	if err != nil {
		return nil, err
	}
	// What cannot be removed is somebody's: of a newer version, or of another data root.
	if err := claim.Clear(ctx); err != nil {
		return nil, errors.Join(err, claim.Release())
	}
	b := &birth{opts: opts, claim: claim, groups: groups, secrets: secrets}
	defer b.closeFiles()
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, b.undo(ctx))
		}
	}()
	for _, step := range []func(context.Context) error{
		b.openPorts, b.writeRecord, b.makeDirectories, b.makeGroups, b.start, b.handOver, b.waitForAnswer,
	} {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	// From here on it lives on its own: the lock is the supervisor's alone.
	if err := claim.Release(); err != nil {
		return nil, fmt.Errorf("let go of the lock: %w", err)
	}
	return &Launched{Record: b.record, Client: b.client, Notices: b.notices, process: b.process}, nil
}

// birth is a launch on its way.
type birth struct {
	opts    Options
	claim   *environment.Claim
	groups  *groups
	secrets []environment.SecretContent

	ports   []openPort
	record  *environment.Record
	control *os.File // the listening control socket, for the supervisor
	process *process
	// handover is the end of the pipe on which the supervisor waits.
	handover *os.File
	client   *control.Client
	notices  []string
}

// closeFiles closes what only the supervisor needs.
func (b *birth) closeFiles() {
	for _, p := range b.ports {
		p.file.Close()
	}
	for _, f := range []*os.File{b.control, b.handover} {
		if f != nil {
			f.Close()
		}
	}
}

// undo ends the supervisor, if there is one, and removes everything, also when ctx
// has ended.
func (b *birth) undo(ctx context.Context) error {
	if b.process != nil {
		b.process.kill()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := b.claim.Undo(ctx); err != nil {
		return fmt.Errorf("undo the launch: %w; sandboxrun env gc tries again", err)
	}
	return nil
}

// writeRecord comes before anything that outlives this process.
func (b *birth) writeRecord(context.Context) error {
	text, err := json.Marshal(b.opts.Plan)
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	b.record = &environment.Record{
		Name:          b.opts.Plan.Name,
		Roots:         b.opts.Roots,
		CreatedAt:     time.Now(),
		Dir:           b.opts.Plan.Dir,
		Files:         b.opts.Plan.Files,
		Cgroup:        b.groups.path,
		Cgroups:       b.groups.paths,
		DieWithParent: b.opts.DieWithParent,
		Plan:          text,
	}
	if out := b.opts.Plan.Egress; out.All || len(out.Rules) > 0 {
		b.record.Egress = b.record.Paths().Dir // no other environment of this host has it
	}
	for _, p := range b.ports {
		b.record.Ports = append(b.record.Ports, p.OpenPort)
	}
	return b.record.Write()
}

func (b *birth) makeDirectories(context.Context) error {
	paths := b.record.Paths()
	if err := os.MkdirAll(paths.Data, 0o700); err != nil {
		return fmt.Errorf("make directories of environment: %w", err)
	}
	for _, dir := range []string{paths.Containers, paths.Bundles, paths.Volumes, paths.Logs, paths.Reports} {
		// Volumes may be there: they were kept.
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make directories of environment: %w", err)
		}
	}
	// From here on others can tell that the name is in use; who connects waits for the supervisor.
	listener, err := control.Listen(paths.Control)
	if err != nil {
		return err
	}
	b.control, err = listener.File()
	if err := errors.Join(err, listener.Close()); err != nil {
		return fmt.Errorf("duplicate control socket: %w", err)
	}
	return nil
}

func (b *birth) makeGroups(ctx context.Context) error { return b.groups.create(ctx) }

// waitForAnswer returns when the supervisor serves the control socket, or why it does
// not: its last end of the socket closes when it dies.
func (b *birth) waitForAnswer(ctx context.Context) error {
	// As long as our copy is open, nobody would hear of the supervisor's end.
	if err := b.control.Close(); err != nil {
		return fmt.Errorf("close control socket: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	b.client = control.NewClient(b.record.Paths().Control)
	_, err := b.client.Status(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil && errors.Is(err, control.ErrNotRunning) {
		return b.explainEnd(ctx)
	}
	return fmt.Errorf("wait for the supervisor: %w", err)
}
