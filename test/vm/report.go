package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// The report disk, as guest/boot.sh writes it: a header of one block, written
// last, and a tar of /out.
const (
	reportHeaderSize = 4096
	reportTarOffset  = 64 << 10
	reportMagic      = "sandboxrun-vm 1\n"
)

// errNoReport says that the guest ended without a complete report disk.
var errNoReport = errors.New("the guest left no report")

// readReport reads the report's header: the command's exit code. It returns
// errNoReport for a disk that wasn't written to its end.
func readReport(disk io.ReaderAt) (exitCode int, err error) {
	header := make([]byte, reportHeaderSize)
	if _, err := disk.ReadAt(header, 0); err != nil {
		return 0, fmt.Errorf("read report: %w", err)
	}
	text, found := strings.CutPrefix(string(bytes.TrimRight(header, "\x00")), reportMagic)
	if !found {
		return 0, errNoReport
	}
	if _, err := fmt.Sscanf(text, "exit %d\n", &exitCode); err != nil || exitCode < 0 || exitCode > 255 {
		return 0, fmt.Errorf("%w that can be read: %q", errNoReport, text)
	}
	return exitCode, nil
}

// extractOut copies what the command left in /out below dir, which is made if
// it isn't there. Files of the same name are replaced. The guest is not
// trusted: no entry gets out of dir. Devices, sockets and fifos are skipped
// and named on warnings.
func extractOut(disk io.ReaderAt, dir string, warnings io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open output directory: %w", err)
	}
	defer root.Close()
	room := int64(reportDiskSize)
	archive := tar.NewReader(io.NewSectionReader(disk, reportTarOffset, reportDiskSize-reportTarOffset))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read /out: %w", err)
		}
		// Sparse entries can claim more than the disk has.
		if room -= header.Size; room < 0 {
			return fmt.Errorf("read /out: %q claims more than the %d bytes of the report disk", header.Name, int64(reportDiskSize))
		}
		if err := extractEntry(root, header, archive, warnings); err != nil {
			return fmt.Errorf("copy /out/%s: %w", path.Clean(header.Name), err)
		}
	}
}

func extractEntry(root *os.Root, header *tar.Header, content io.Reader, warnings io.Writer) error {
	name := path.Clean(header.Name)
	if name == "." {
		return nil
	}
	mode := fs.FileMode(header.Mode) & fs.ModePerm
	if header.Typeflag == tar.TypeDir {
		// Ours whatever its mode, or what is in it couldn't be written.
		return root.MkdirAll(name, mode|0o700)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	case tar.TypeSymlink:
		return root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return root.Link(path.Clean(header.Linkname), name)
	}
	fmt.Fprintf(warnings, "vm: /out/%s is neither file, directory nor link; not copied\n", name)
	return nil
}
