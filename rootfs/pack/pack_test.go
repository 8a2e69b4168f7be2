package pack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/pack"
	"github.com/sandboxrun/sandboxrun/rootfs/tree"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

func packed(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := pack.Directory(t.Context(), &b, dir); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func describe(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if err := tree.Print(&b, dir, tree.Options{Times: true}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// grow makes everything that a layer can have.
func grow(t *testing.T, dir string) {
	t.Helper()
	when := []unix.Timespec{{Sec: 1}, {Sec: -86400, Nsec: 5}}
	for _, err := range []error{
		os.MkdirAll(dir+"/d/e", 0o755),
		os.WriteFile(dir+"/d/file", []byte("content"), 0o644),
		os.WriteFile(dir+"/empty", nil, 0o600),
		os.WriteFile(dir+"/caf\xe9", []byte("latin 1"), 0o644),
		os.WriteFile(dir+"/"+strings.Repeat("n", 255), []byte("long"), 0o644),
		os.WriteFile(dir+"/su", []byte("x"), 0o755),
		os.Link(dir+"/d/file", dir+"/z-too"),
		os.Symlink("../no/where", dir+"/d/link"),
		os.Lchown(dir+"/d/link", 7, 8),
		unix.Mkfifo(dir+"/fifo", 0o620),
		unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(dir+"/disk", unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))),
		os.Chown(dir+"/su", 1000, 50),
		unix.Chmod(dir+"/su", 0o6755),
		unix.Chmod(dir+"/d/e", 0o1777),
		unix.Chmod(dir, 0o751),
		unix.Setxattr(dir+"/d/file", "user.note", []byte("v\x00w"), 0),
		unix.Setxattr(dir+"/d/e", "user.empty", nil, 0),
		unix.Setxattr(dir+"/su", "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00"+strings.Repeat("\x00", 12)), 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/empty", when, 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/d", when, 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/d/link", when, unix.AT_SYMLINK_NOFOLLOW),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDirectoryAndBack: what is unpacked is what was packed, and packed again it is
// the same bytes.
func TestDirectoryAndBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for owners and devices")
	}
	dir, back := t.TempDir(), t.TempDir()
	grow(t, dir)
	first := packed(t, dir)
	if _, err := unpack.Layer(t.Context(), back, bytes.NewReader(first), unpack.Options{}); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, back), describe(t, dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := packed(t, back); sha256.Sum256(again) != sha256.Sum256(first) {
		t.Error("packed again it has other bytes")
	}
	if err := os.WriteFile(back+"/d/file", []byte("Content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed := packed(t, back); sha256.Sum256(changed) == sha256.Sum256(first) {
		t.Error("another byte in a file makes no difference")
	}
}

// TestDirectoryIsInOrder: names are sorted in each directory, and a directory comes
// before what is in it.
func TestDirectoryIsInOrder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "c/z", "c/y", "B"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	reader := tar.NewReader(bytes.NewReader(packed(t, dir)))
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if got, want := strings.Join(names, " "), "./ B a b c/ c/y c/z"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDirectoryRefuses(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(dir string) error
		want    string
	}{
		{"socket", func(dir string) error {
			listener, err := net.Listen("unix", dir+"/s")
			if err == nil {
				listener.(*net.UnixListener).SetUnlinkOnClose(false)
				err = listener.Close()
			}
			return err
		}, `cannot pack "s": a socket has no form in a layer; remove it`},
		{"deletion", func(dir string) error { return os.WriteFile(dir+"/.wh.x", nil, 0o600) }, `cannot pack ".wh.x": names that begin with .wh. mean deletions in a layer; rename it`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir) // a socket's path is short
			if err := test.prepare("."); err != nil {
				t.Fatal(err)
			}
			err := pack.Directory(t.Context(), io.Discard, dir)
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	for name, path := range map[string]string{"missing": "/no/such/directory", "link": link(t)} {
		if err := pack.Directory(t.Context(), io.Discard, path); err == nil {
			t.Errorf("%s: it was packed", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pack.Directory(ctx, io.Discard, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	full := errors.New("disk full")
	if err := pack.Directory(t.Context(), failing{full}, t.TempDir()); !errors.Is(err, full) {
		t.Errorf("full: got %v", err)
	}
}

// link is a symbolic link to a directory.
func link(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestDirectoryThatShrinks: a file that is shorter than it was when it was looked at
// ends it.
func TestDirectoryThatShrinks(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/file"
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	// Its header is written after it was looked at.
	shrink := writerFunc(func(p []byte) error {
		if bytes.Contains(p, []byte("file\x00")) {
			return os.Truncate(path, 1)
		}
		return nil
	})
	err := pack.Directory(t.Context(), shrink, dir)
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "it must not change meanwhile") {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) { return len(p), f(p) }

func TestBinary(t *testing.T) {
	const program = "\x7fELF and more"
	layer := func(certificates string) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := pack.Binary(&b, "server", strings.NewReader(program), int64(len(program)), []byte(certificates)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(layer("CA"), layer("CA")) {
		t.Error("the same program makes another layer")
	}
	for certificates, want := range map[string]string{
		"":   "etc/ etc/group etc/nsswitch.conf etc/passwd tmp/ server",
		"CA": "etc/ etc/group etc/nsswitch.conf etc/passwd etc/ssl/ etc/ssl/certs/ etc/ssl/certs/ca-certificates.crt tmp/ server",
	} {
		var names []string
		content := map[string]string{}
		reader := tar.NewReader(bytes.NewReader(layer(certificates)))
		for {
			h, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			names, content[h.Name] = append(names, h.Name), string(data)
			if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Gid != 0 {
				t.Errorf("%s is of %s, owned by %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
			}
			wantMode := map[string]int64{"server": 0o755, "tmp/": 0o1777}[h.Name]
			if wantMode != 0 && h.Mode != wantMode {
				t.Errorf("%s has mode %o, want %o", h.Name, h.Mode, wantMode)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if content["server"] != program || content[pack.CertificatePath[1:]] != certificates {
			t.Errorf("got %q", content)
		}
	}
	if err := pack.Binary(io.Discard, "server", strings.NewReader("short"), 100, nil); !errors.Is(err, io.EOF) {
		t.Errorf("a program that ends early: got %v", err)
	}
}

func TestIsStatic(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if shell, err := os.Open("/bin/sh"); err == nil {
		defer shell.Close()
		if err := pack.IsStatic(shell); err != nil && !strings.Contains(err.Error(), "link it statically") {
			t.Errorf("/bin/sh: got %v", err)
		}
	}
	object := bytes.Clone(self)
	object[16], object[17] = 1, 0 // e_type: ET_REL
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"text":   {[]byte("#!/bin/sh\n"), "it is no ELF program"},
		"short":  {self[:10], "it is no ELF program"},
		"empty":  {nil, "it is no ELF program"},
		"object": {object, "it is ET_REL, not a program"},
	} {
		if err := pack.IsStatic(bytes.NewReader(test.content)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	withoutInterpreter, withInterpreter := elf(6), elf(3) // PT_PHDR, PT_INTERP
	if err := pack.IsStatic(bytes.NewReader(withoutInterpreter)); err != nil {
		t.Errorf("a static program: got %v", err)
	}
	if err := pack.IsStatic(bytes.NewReader(withInterpreter)); err == nil || !strings.Contains(err.Error(), "it is linked dynamically") {
		t.Errorf("a dynamic program: got %v", err)
	}
}

// elf is the smallest program with one segment of that type (elf(5)).
func elf(segment byte) []byte {
	header := []byte("\x7fELF\x02\x01\x01\x00" + strings.Repeat("\x00", 8) + // identification: 64 bits, little-endian
		"\x02\x00\x3e\x00\x01\x00\x00\x00" + // ET_EXEC, x86-64
		strings.Repeat("\x00", 8) + "\x40\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 8) + // entry, segments at 64, no sections
		strings.Repeat("\x00", 4) + "\x40\x00\x38\x00\x01\x00\x40\x00\x00\x00\x00\x00") // sizes; one segment
	return append(header, append([]byte{segment}, make([]byte, 55)...)...)
}

func TestHostCertificates(t *testing.T) {
	data, err := pack.HostCertificates()
	if err != nil {
		t.Fatal(err)
	}
	if data != nil && !bytes.Contains(data, []byte("-----BEGIN CERTIFICATE-----")) {
		t.Errorf("got %d bytes that are no certificates", len(data))
	}
}
