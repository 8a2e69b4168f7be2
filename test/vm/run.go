package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

var (
	//go:embed guest/init.sh
	initScript string
	//go:embed guest/boot.sh
	bootScript string
)

// request is one command to be run in a fresh guest.
type request struct {
	command command
	// hostDir and testDir are directories whose copies appear at /work/host
	// and /work/test; empty for none.
	hostDir, testDir string
	// out is the directory that gets what the command left in /out; empty
	// drops it.
	out      string
	deadline time.Time // of everything; zero for none
	memory   int64     // bytes
	// interactive gives the command the serial console, which is the
	// harness's own stdin and stdout.
	interactive    bool
	stdout, stderr io.Writer // the command's
	progress       io.Writer // the harness's words
	verbose        io.Writer // the guest's console
	// boots are the accelerators to try, one a boot, until a guest boots.
	boots []accelerator
	// silence is how long a booting guest may say nothing.
	silence time.Duration
}

// result is how a command ended.
type result struct {
	exitCode int // 128+n after signal n
	// timedOut says that the command was ended at the deadline; the exit code
	// is then that of the signal.
	timedOut bool
}

// errBoot says that a guest didn't boot; booting again may help.
var errBoot = errors.New("the guest didn't boot")

// errDeadline says that the guest was killed at the deadline.
var errDeadline = errors.New("the deadline passed before the guest had reported; give more time by --timeout")

// run boots img and runs the request's command in it. It returns when QEMU is
// gone.
func run(ctx context.Context, c cache, img image, req request) (result, error) {
	if !req.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, req.deadline, errDeadline)
		defer cancel()
	}
	media, err := c.prepare(ctx, img, req)
	if err != nil {
		return result{}, err
	}
	defer media.close()

	for i, accel := range req.boots {
		g := guest{request: req, image: img, media: media, scratch: c.dir, accel: accel}
		res, err := g.boot(ctx)
		if errors.Is(err, errBoot) && i+1 < len(req.boots) {
			fmt.Fprintf(req.progress, "vm: %v (%s); booting again\n", err, accel)
			continue
		}
		if err != nil {
			return result{}, err
		}
		if req.out == "" {
			return res, nil
		}
		return res, extractOut(media.report, req.out, req.progress)
	}
	return result{}, errBoot
}

// media are the files without names of one run.
type media struct {
	initrd     *os.File
	io         *os.File
	report     *os.File
	host, test *os.File // nil for none
	token      []byte   // ends each output stream
}

func (m media) close() {
	for _, file := range []*os.File{m.initrd, m.io, m.report, m.host, m.test} {
		if file != nil {
			file.Close()
		}
	}
}

// prepare makes the media of a run.
func (c cache) prepare(ctx context.Context, img image, req request) (_ media, retErr error) {
	m := media{token: []byte("\x00end of stream " + rand.Text() + "\x00")}
	defer func() {
		if retErr != nil {
			m.close()
		}
	}()
	var err error
	if m.io, err = namelessFile(c.dir, ioDiskSize); err != nil {
		return media{}, err
	}
	if m.report, err = namelessFile(c.dir, reportDiskSize); err != nil {
		return media{}, err
	}
	if m.initrd, err = namelessFile(c.dir, 0); err != nil {
		return media{}, err
	}
	if err := writeInitrd(m.initrd, img, req, m.token); err != nil {
		return media{}, fmt.Errorf("write initrd: %w", err)
	}
	if req.hostDir != "" {
		if m.host, err = directoryDisk(ctx, c.dir, req.hostDir); err != nil {
			return media{}, err
		}
	}
	if req.testDir != "" {
		if m.test, err = directoryDisk(ctx, c.dir, req.testDir); err != nil {
			return media{}, err
		}
	}
	return m, nil
}

// writeInitrd writes the image's initrd and, as a second archive, what is this
// run's own.
func writeInitrd(to io.Writer, img image, req request, token []byte) error {
	base, err := os.ReadFile(img.initrd())
	if err != nil {
		return err
	}
	files := []archiveFile{
		{name: "init", mode: 0o755, data: []byte(initScript)},
		{name: "vm/", mode: 0o755},
		{name: "vm/boot.sh", mode: 0o644, data: []byte(bootScript)},
		{name: "vm/command", mode: 0o644, data: []byte(req.command.script())},
		{name: "vm/token", mode: 0o600, data: token},
	}
	if img.flavour.systemd {
		files = append(files, archiveFile{name: "vm/systemd", mode: 0o644})
	}
	if req.interactive {
		files = append(files, archiveFile{name: "vm/interactive", mode: 0o644})
	}
	if _, err := to.Write(base); err != nil {
		return err
	}
	_, err = to.Write(cpio(files))
	return err
}
