package pack

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// CertificatePath is where Binary puts CA certificates: where Go, OpenSSL of
// Debian and curl look.
const CertificatePath = "/etc/ssl/certs/ca-certificates.crt"

// hostCertificates are where distributions have theirs, in the order of Go's
// crypto/x509.
var hostCertificates = []string{
	CertificatePath,
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// CertificateFiles are the files of which HostCertificates reads the first that
// there is.
func CertificateFiles() []string { return slices.Clone(hostCertificates) }

// HostCertificates returns this host's CA certificates, nil if it has none.
func HostCertificates() ([]byte, error) {
	for _, path := range hostCertificates {
		data, err := os.ReadFile(path)
		if err == nil {
			return data, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
	}
	return nil, nil
}

// IsStatic says whether the file is a program that needs no other file: nil, or
// why not.
func IsStatic(f io.ReaderAt) error {
	program, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("it is no ELF program: %w", err)
	}
	if program.Type != elf.ET_EXEC && program.Type != elf.ET_DYN {
		return fmt.Errorf("it is %s, not a program", program.Type)
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New("it is linked dynamically: its interpreter and libraries would be missing; link it statically or use its root filesystem")
		}
	}
	return nil
}

// Binary writes the layer of a program alone, as /name: with users root and
// nobody, CA certificates if there are some, and an empty /tmp. All is of the
// beginning of time, so that the same program makes the same layer.
func Binary(w io.Writer, name string, program io.Reader, size int64, certificates []byte) error {
	t := tar.NewWriter(w)
	put := func(name string, mode int64, flag byte, size int64, content io.Reader) error {
		h := &tar.Header{Typeflag: flag, Name: name, Mode: mode, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("pack %q: %w", name, err)
		}
		if size == 0 {
			return nil
		}
		if _, err := io.CopyN(t, content, size); err != nil {
			return fmt.Errorf("pack %q: %w", name, err)
		}
		return nil
	}
	files := []struct {
		name    string
		content string
	}{
		{"etc/", ""},
		{"etc/group", "root:x:0:\nnogroup:x:65534:\n"},
		{"etc/nsswitch.conf", "hosts: files dns\n"},
		{"etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"},
	}
	if len(certificates) > 0 {
		files = append(files, []struct{ name, content string }{
			{"etc/ssl/", ""}, {"etc/ssl/certs/", ""}, {CertificatePath[1:], string(certificates)},
		}...)
	}
	for _, f := range files {
		var err error
		if f.content == "" {
			err = put(f.name, 0o755, tar.TypeDir, 0, nil)
		} else {
			err = put(f.name, 0o644, tar.TypeReg, int64(len(f.content)), strings.NewReader(f.content))
		}
		if err != nil {
			return err
		}
	}
	if err := put("tmp/", 0o1777, tar.TypeDir, 0, nil); err != nil {
		return err
	}
	if err := put(name, 0o755, tar.TypeReg, size, program); err != nil {
		return err
	}
	return t.Close()
}
