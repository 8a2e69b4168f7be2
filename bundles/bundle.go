package bundles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
)

// MaxConfigBytes bounds config.json. The largest in the wild (a pod with hundreds
// of mounts and a seccomp profile) have some hundred KiB.
const MaxConfigBytes = 8 << 20

// Bundle is a loaded bundle. It is a plain value: changing Spec changes nothing on
// disk.
type Bundle struct {
	// Dir is the bundle's directory as an absolute, clean path. Symbolic links in
	// it are kept: it is what the user is told and what the state says.
	Dir string
	// Spec has passed Validate.
	Spec *specs.Spec
}

// Load reads, decodes and validates the bundle in dir ("" is the working
// directory, as for runc's --bundle).
//
// config.json is opened once and read to its end or to MaxConfigBytes; anything
// but a regular file (or a link to one) is refused without waiting for it. The
// error wraps ErrNotFound, ErrNotDirectory, ErrNoConfig, ErrNotRegular,
// ErrTooLarge, one or more *SpecError, or the errno.
func Load(dir string) (*Bundle, error) { return LoadFile(dir, ConfigFile) }

// LoadFile is Load for a bundle whose config.json has another name. A path that
// is not absolute is taken from dir, as with crun; "" is config.json.
func LoadFile(dir, file string) (*Bundle, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("load bundle %q: %w", dir, err)
	}
	if file == "" {
		file = ConfigFile
	}
	data, err := readConfig(ConfigPath(abs, file))
	if err != nil {
		return nil, explainRead(abs, file, err)
	}
	spec, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("load bundle %q: %w", abs, err)
	}
	if err := Validate(spec); err != nil {
		return nil, fmt.Errorf("load bundle %q: %w", abs, err)
	}
	return &Bundle{Dir: abs, Spec: spec}, nil
}

// ConfigPath returns the path of the file that LoadFile reads.
func ConfigPath(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

func readConfig(path string) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer.
	file, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrNotRegular
	}
	if info.Size() > MaxConfigBytes {
		return nil, ErrTooLarge
	}
	// One byte more than the file had: a read that fills the buffer tells that
	// the file grew, and one that doesn't that it was read whole.
	data := make([]byte, info.Size()+1)
	n, err := io.ReadFull(file, data)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return data[:n], nil
	case err != nil:
		return nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(file, MaxConfigBytes))
	if err != nil {
		return nil, err
	}
	if data = append(data, rest...); len(data) > MaxConfigBytes {
		return nil, ErrTooLarge
	}
	return data, nil
}

func explainRead(dir, file string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot load bundle %q: %w; name a directory that has a %s", dir, ErrNotFound, file)
		}
		if file != ConfigFile {
			return fmt.Errorf("cannot load bundle %q: there is no %s: %w; name one that is there with --config", dir, file, fs.ErrNotExist)
		}
		return fmt.Errorf("cannot load bundle %q: %w; write one by hand or with \"sandboxrun spec --bundle %s\"", dir, ErrNoConfig, dir)
	case errors.Is(err, unix.ENOTDIR) && file == ConfigFile:
		return fmt.Errorf("cannot load bundle %q: %w; name the directory that has the %s", dir, ErrNotDirectory, ConfigFile)
	case errors.Is(err, ErrNotRegular):
		return fmt.Errorf("cannot load bundle %q: %w; replace it by a file", dir, ErrNotRegular)
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("cannot load bundle %q: %w; at most %d bytes are read", dir, ErrTooLarge, MaxConfigBytes)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot load bundle %q: read %s: %w; run as a user who may read it", dir, file, fs.ErrPermission)
	}
	return fmt.Errorf("load bundle %q: %w", dir, err)
}

// Write writes spec as dir's config.json, mode 0644, indented by tabs as `runc
// spec` does. It never replaces a config.json: the error then wraps ErrExists. dir
// must exist ("" is the working directory).
func Write(dir string, spec *specs.Spec) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("write bundle %q: %w", dir, err)
	}
	data, err := Encode(spec)
	if err != nil {
		return fmt.Errorf("write bundle %q: %w", abs, err)
	}
	err = atomicfile.WriteNew(filepath.Join(abs, ConfigFile), data, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot write bundle %q: %w; remove it first", abs, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("write bundle %q: %w", abs, err)
	}
	return nil
}
