package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// image is a finished image in the cache.
type image struct {
	dir     string
	flavour flavour
}

func (i image) kernel() string   { return filepath.Join(i.dir, "vmlinuz") }
func (i image) initrd() string   { return filepath.Join(i.dir, "initrd") }
func (i image) root() string     { return filepath.Join(i.dir, "root.img") }
func (i image) manifest() string { return filepath.Join(i.dir, "manifest") }

// image returns a flavour's image for this version of its inputs and whether
// it is there already.
func (c cache) image(f flavour) (image, bool) {
	found := image{dir: filepath.Join(c.dir, f.hash()), flavour: f}
	_, err := os.Stat(found.manifest())
	return found, err == nil
}

// ensureImage returns a flavour's image, building it first if it isn't there.
// It says on progress what takes long. Concurrent callers build once.
func (c cache) ensureImage(ctx context.Context, f flavour, progress io.Writer) (_ image, retErr error) {
	if found, ok := c.image(f); ok {
		return found, nil
	}
	if runtime.GOARCH != "amd64" {
		return image{}, fmt.Errorf("cannot build the image: it is made for amd64 only, this is %s", runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return image{}, errors.New("cannot build the image: debootstrap needs root; run `go run ./test/vm build --image " + f.name + "` as root once")
	}
	lock, err := c.lock()
	if err != nil {
		return image{}, err
	}
	defer lock.Close()
	found, ok := c.image(f)
	if ok {
		return found, nil
	}

	base, err := c.ensureBase(ctx, progress)
	if err != nil {
		return image{}, err
	}
	work, err := c.newScratch()
	if err != nil {
		return image{}, err
	}
	defer func() { retErr = errors.Join(retErr, work.remove()) }()
	inputs := map[string]string{
		"packages.txt": f.packages,
		"sources.list": sourcesList(hostSources()),
		"apt.conf":     hostAptConf(),
		"script":       f.script,
	}
	for name, content := range inputs {
		if err := os.WriteFile(filepath.Join(work.dir, name), []byte(content), 0o644); err != nil {
			return image{}, fmt.Errorf("write build input: %w", err)
		}
	}
	err = buildStep(ctx, progress, "image "+f.name, imageScript, base,
		filepath.Join(work.dir, "packages.txt"), filepath.Join(work.dir, "sources.list"),
		filepath.Join(work.dir, "apt.conf"), filepath.Join(work.dir, "script"), work.dir)
	if err != nil {
		return image{}, err
	}
	return found, keep(filepath.Join(work.dir, "image"), found.dir)
}

// ensureBase returns the path of the base layer's tar, made first if it isn't
// there. The caller holds the lock.
func (c cache) ensureBase(ctx context.Context, progress io.Writer) (_ string, retErr error) {
	dir := filepath.Join(c.dir, "base-"+baseHash())
	path := filepath.Join(dir, "base.tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	work, err := c.newScratch()
	if err != nil {
		return "", err
	}
	defer func() { retErr = errors.Join(retErr, work.remove()) }()
	mirror := ""
	if sources := hostSources(); len(sources) > 0 {
		mirror = sources[0].uri
	}
	if err := buildStep(ctx, progress, "base", baseScript, suite, mirror, work.dir); err != nil {
		return "", err
	}
	finished := filepath.Join(work.dir, "finished")
	if err := os.Mkdir(finished, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(work.dir, "base.tar"), filepath.Join(finished, "base.tar")); err != nil {
		return "", err
	}
	return path, keep(finished, dir)
}

// keep gives a finished directory its name in the cache.
func keep(finished, name string) error {
	// Data first: after a crash of the host a complete name with empty files
	// would be used for ever.
	syscall.Sync()
	if err := os.Rename(finished, name); err != nil {
		return fmt.Errorf("keep in cache: %w", err)
	}
	return nil
}

// buildStep runs a build script in PID and mount namespaces of its own: at its
// end, and at the harness's, every process and mount that it made is gone.
func buildStep(ctx context.Context, progress io.Writer, name, script string, args ...string) error {
	fmt.Fprintf(progress, "vm: building the %s; this takes half a minute to two\n", name)
	began := time.Now()
	var log tail
	cmd := exec.Command("sh", append([]string{"-s", "--"}, args...)...)
	cmd.Stdin = strings.NewReader(script)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:      true,
		Pdeathsig:    syscall.SIGKILL,
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	cmd.WaitDelay = 5 * time.Second
	if err := runTied(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("build %s: %w", name, context.Cause(ctx))
		}
		return fmt.Errorf("build %s: %w; its last output:\n%s", name, err, log.lines(30))
	}
	fmt.Fprintf(progress, "vm: built the %s in %.1f s\n", name, time.Since(began).Seconds())
	return nil
}
