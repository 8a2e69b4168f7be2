package build

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/field"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/rootfs/hostroot"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

const idLength = 16

// Source says what a root filesystem is made of.
type Source struct {
	// Text is for people and the record.
	Text string
	// Load brings the image into the store, or finds it there. It is called once,
	// while nothing can be pruned. nil for this host's root.
	Load func(context.Context) (store.Image, error)
	// Variant is that of the image's layers in the store.
	Variant string
	// DockerDefaults: see service.Input.
	DockerDefaults bool
}

// Options are the surroundings of a bundle.
type Options struct {
	// Dir is the bundle's absolute path: nothing, or an empty directory.
	Dir string
	// StateRoot is on tmpfs and takes the secrets.
	StateRoot string
	// Set are changes of config.json, PATH=VALUE, in order (package field).
	Set []string
	// Rootless makes the bundle for the calling user, who is not root.
	Rootless bool
	// Lookup gives the variables of secrets; os.LookupEnv.
	Lookup func(string) (string, bool)
	Log    *slog.Logger
}

// Result is a bundle that was built.
type Result struct {
	Dir    string
	Record Record
	Spec   *specs.Spec
	// Ability says why a method other than overlay was chosen; the zero value
	// where none was looked for.
	Ability overlay.Ability
	// Hidden and Submounts are those of a host's view.
	Hidden    []hostroot.Hidden
	Submounts []string
}

// Build makes a bundle in o.Dir. It is there complete or not at all; see the
// package's comment for what happens when the process is killed. The error wraps
// one of this package's, service's, field's, store's or overlay's, bundles'
// *SpecErrors, or what src.Load gives.
//
// Two builds in one directory: one of them gets ErrExists. Safe for concurrent
// use.
func Build(ctx context.Context, st *store.Store, src Source, svc service.Service, o Options) (_ Result, retErr error) {
	if err := vacant(o.Dir); err != nil {
		return Result{}, err
	}
	b := &building{store: st, source: src, service: svc, options: o}
	var undo cleanup.Stack
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, undo.Unwind())
		}
	}()
	if err := b.begin(ctx, &undo); err != nil {
		return Result{}, err
	}
	for _, step := range []func(context.Context) error{b.load, b.layers, b.mount, b.configure, b.publish} {
		if err := ctx.Err(); err != nil {
			return Result{}, context.Cause(ctx)
		}
		if err := step(ctx); err != nil {
			return Result{}, err
		}
	}
	undo.Release()
	return b.result, b.end()
}

// building is one bundle in the making.
type building struct {
	store   *store.Store
	source  Source
	service service.Service
	options Options

	id      string
	places  places
	intent  intent
	lock    *lockfile.Lock
	writer  *store.Writer
	image   store.Image
	lower   []string
	method  overlay.Method
	plan    service.Plan
	secrets []SecretOrigin
	result  Result
}

// vacant refuses a path at which something is.
func vacant(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(dir)
		if _, err := os.Stat(parent); err != nil {
			return fmt.Errorf("cannot build bundle %q: %w; make the directory %s first", dir, err, parent)
		}
		return nil
	case err != nil:
		return fmt.Errorf("cannot build bundle %q: %w", dir, err)
	case !info.IsDir():
		return fmt.Errorf("cannot build bundle %q: %w; name another directory", dir, ErrExists)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot build bundle %q: %w", dir, err)
	}
	if len(entries) == 0 {
		return nil
	}
	if _, err := Load(dir); err == nil {
		return fmt.Errorf("cannot build bundle %q: %w; \"sandboxrun bundle remove %s\" removes the bundle that is there", dir, ErrExists, dir)
	}
	return fmt.Errorf("cannot build bundle %q: %w; name another directory", dir, ErrExists)
}

// begin takes the lock and notes what is to be made.
func (b *building) begin(ctx context.Context, undo *cleanup.Stack) error {
	random := make([]byte, idLength/2)
	rand.Read(random)
	b.id = hex.EncodeToString(random)
	b.places = placesOf(b.store.Root(), b.options.StateRoot, b.id)
	dir := b.options.Dir
	b.intent = intent{
		Version: recordVersion, ID: b.id, Dir: dir, StateRoot: b.options.StateRoot,
		Staging: filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+b.id+".tmp"),
	}
	if err := os.MkdirAll(b.places.unfinished, 0o700); err != nil {
		return fmt.Errorf("make directory of bundles: %w", err)
	}
	var err error
	if b.lock, err = lockfile.TryLock(b.places.lock); err != nil {
		return fmt.Errorf("lock bundle: %w", err)
	}
	undo.Push(b.lock.Remove)
	if err := b.intent.write(b.places); err != nil {
		return err
	}
	undo.Push(func() error { return clear(b.store, b.intent, b.places) })
	if b.writer, err = b.store.Write(ctx); err != nil {
		return err
	}
	undo.Push(b.writer.Close)
	return nil
}

// load finds the image.
func (b *building) load(ctx context.Context) (err error) {
	if b.source.Load == nil {
		return nil
	}
	b.image, err = b.source.Load(ctx)
	return err
}

// layers makes the directories that the root will consist of.
func (b *building) layers(context.Context) error {
	for _, dir := range []string{b.places.own, b.places.upper(), b.places.work()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make directory of bundle: %w", err)
		}
	}
	if b.source.Load == nil {
		return b.hostLayers()
	}
	b.lower = directories(b.image.Layers)
	if len(b.lower) == 0 {
		b.lower = []string{b.places.empty()}
		if err := makeDir(b.places.empty(), 0o755); err != nil {
			return fmt.Errorf("make directory of bundle: %w", err)
		}
	}
	if files := b.service.Source.Files; len(files) > 0 {
		if err := makeDir(b.places.files(), 0o755); err != nil {
			return fmt.Errorf("make layer of files: %w", err)
		}
		if err := copyDirMode(b.lower[len(b.lower)-1], b.places.files()); err != nil {
			return err
		}
		if err := writeFiles(b.places.files(), b.lower, files); err != nil {
			return err
		}
		b.lower = append(b.lower, b.places.files())
	}
	// The root directory of an overlay is the upper one's.
	return copyDirMode(b.lower[len(b.lower)-1], b.places.upper())
}

// hostLayers has one layer, this host's root. What hides a part of it and the
// service's files are in the upper directory: overlayfs takes no other layer from
// a filesystem whose root is one.
func (b *building) hostLayers() error {
	mounts, err := hostroot.Mounts()
	if err != nil {
		return err
	}
	view, err := hostroot.Make(b.places.upper(), "/", hostroot.Default(), false, mounts)
	if err != nil {
		return err
	}
	b.lower = []string{view.Lower}
	b.result.Hidden, b.result.Submounts = view.Hidden, view.Submounts
	return writeFiles(b.places.upper(), b.lower, b.service.Source.Files)
}

// mount mounts the root filesystem in the staging directory.
func (b *building) mount(ctx context.Context) error {
	staging := b.intent.Staging
	target := filepath.Join(staging, rootfsDir)
	err := makeDir(staging, 0o711)
	if err == nil {
		err = makeDir(target, 0o755)
	}
	if err != nil {
		return fmt.Errorf("cannot build bundle %q: %w", b.options.Dir, err)
	}
	b.method, b.result.Ability, err = mountRoot(ctx, overlay.Root{
		Target: target, Layers: b.lower, Upper: b.places.upper(), Work: b.places.work(), Log: b.options.Log,
	}, b.places.own, b.source.Load == nil)
	return err
}

// mountRoot mounts by overlayfs where the caller is root, as nearly everywhere it
// works, and looks for another method only if it does not.
// A host's root is mounted or refused.
func mountRoot(ctx context.Context, root overlay.Root, dir string, host bool) (overlay.Method, overlay.Ability, error) {
	var first error
	// A user namespace's root could mount that one too, but not see or set the xattrs
	// that hide directories.
	if os.Geteuid() == 0 && !userns.RunningInUserNS() {
		root.Method = overlay.Kernel
		if first = overlay.Mount(ctx, root); first == nil {
			return overlay.Kernel, overlay.Ability{}, nil
		}
	}
	ability, err := overlay.Probe(ctx, dir)
	if err != nil {
		return "", ability, errors.Join(err, first)
	}
	if ability.Method == root.Method {
		return "", ability, first
	}
	if host && (ability.Method == overlay.Reflink || ability.Method == overlay.Copy) {
		return "", ability, fmt.Errorf("cannot use \"host:\": overlayfs does not work here, and the host's root is not copied (%w); use an image or a directory", errors.Join(first, overlay.ErrNoMethod))
	}
	root.Method = ability.Method
	return ability.Method, ability, overlay.Mount(ctx, root)
}

// configure makes config.json and what it binds.
func (b *building) configure(context.Context) error {
	staging := b.intent.Staging
	rootfs := filepath.Join(staging, rootfsDir)
	accounts, err := service.ReadAccounts(rootfs)
	if err != nil {
		return err
	}
	b.plan, err = service.Make(service.Input{
		Service: b.service, Image: b.image.Config, DockerDefaults: b.source.DockerDefaults,
		Accounts: accounts, Rootless: b.options.Rootless,
		Edit: func(spec *specs.Spec) error { return field.Set(spec, b.options.Set...) },
	})
	if err != nil {
		return err
	}
	if err := checkSources(b.plan.Spec); err != nil {
		return err
	}
	if err := b.writeBound(staging); err != nil {
		return err
	}
	for _, v := range b.plan.Volumes {
		if err := makeVolume(rootfs, filepath.Join(staging, v.Path), v); err != nil {
			return err
		}
	}
	b.secrets = origins(b.plan.Secrets)
	if err := writeSecrets(staging, b.places.secrets, b.secrets, b.options); err != nil {
		return err
	}
	config, err := bundles.Encode(b.plan.Spec)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(staging, bundles.ConfigFile), config, 0o600); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	b.result.Spec, b.result.Dir, b.result.Record = b.plan.Spec, b.options.Dir, b.record()
	return writeRecord(staging, b.result.Record)
}

func (b *building) writeBound(staging string) error {
	for name, content := range b.plan.Files {
		path := filepath.Join(staging, name)
		if err := makeDirOnce(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
		if err := writeNew(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	if len(b.plan.Volumes) == 0 {
		return nil
	}
	return makeDir(filepath.Join(staging, service.VolumesDir), 0o711)
}

func (b *building) record() Record {
	r := Record{
		Version: recordVersion, ID: b.id, Source: b.source.Text, Host: b.source.Load == nil,
		Files:  b.source.Load != nil && len(b.service.Source.Files) > 0,
		Method: b.method, Service: b.service.Name, Secrets: b.secrets, Variant: b.source.Variant,
		StateRoot: b.options.StateRoot, DataRoot: b.store.Root(),
	}
	for _, v := range b.plan.Volumes {
		r.Volumes = append(r.Volumes, v.Path)
	}
	if !r.Host {
		r.Reference, r.Digest, r.Platform = b.image.Reference, b.image.Digest, b.image.Config.Platform().String()
		r.Layers = diffIDs(b.image.Layers)
	}
	return r
}

func diffIDs(layers []store.Layer) []manifest.Digest {
	ids := make([]manifest.Digest, len(layers))
	for i, layer := range layers {
		ids[i] = layer.DiffID
	}
	return ids
}

func writeRecord(dir string, r Record) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = writeNew(filepath.Join(dir, RecordFile), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write record of bundle: %w", err)
	}
	return nil
}

// publish gives the bundle its name. The lease comes after, since it holds for a
// path that exists; until the writer is closed nothing can be pruned.
func (b *building) publish(context.Context) error {
	err := unix.Renameat2(unix.AT_FDCWD, b.intent.Staging, unix.AT_FDCWD, b.options.Dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINVAL) {
		// An empty directory is replaced; a full one is not.
		err = unix.Rename(b.intent.Staging, b.options.Dir)
	}
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("cannot build bundle %q: %w; somebody else made it meanwhile", b.options.Dir, ErrExists)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: b.intent.Staging, New: b.options.Dir, Err: err}
	}
	return pin(b.store, b.result.Record, b.options.Dir, b.image.Digest, b.image.Layers)
}

// end forgets the intent.
func (b *building) end() error {
	err := os.Remove(b.places.intent)
	return errors.Join(err, b.writer.Close(), b.lock.Remove())
}
