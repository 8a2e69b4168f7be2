package build

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/service"
)

// maxSecret bounds a secret in bytes.
const maxSecret = 1 << 20

func origins(secrets []service.Secret) []SecretOrigin {
	var out []SecretOrigin
	for _, s := range secrets {
		mode := s.Mode
		if mode == 0 {
			mode = 0o400
		}
		out = append(out, SecretOrigin{Name: s.Name, File: s.File, Variable: s.Variable, UID: s.UID, GID: s.GID, Mode: mode})
	}
	return out
}

// writeSecrets puts the secrets into dir, which is on tmpfs, and a link to it into
// the bundle. What is there from before is replaced.
func writeSecrets(bundle, dir string, secrets []SecretOrigin, o Options) error {
	if len(secrets) == 0 {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove former secrets: %w", err)
	}
	err := os.MkdirAll(dir, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		// A removal took the parent, which was empty, away meanwhile.
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make directory of secrets: %w", err)
	}
	warnIfOnDisk(dir, o.Log)
	for _, s := range secrets {
		if err := writeSecret(filepath.Join(dir, s.Name), s, o.Lookup); err != nil {
			return fmt.Errorf("cannot use secret %q: %w", s.Name, err)
		}
	}
	link := filepath.Join(bundle, service.SecretsDir)
	if err := os.Symlink(dir, link); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("link secrets into bundle: %w", err)
	}
	return nil
}

func warnIfOnDisk(dir string, log *slog.Logger) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type != unix.TMPFS_MAGIC && log != nil {
		log.Warn("secrets are kept on a disk; give a --root that is on a tmpfs", "dir", dir)
	}
}

func writeSecret(path string, s SecretOrigin, lookup func(string) (string, bool)) (retErr error) {
	content, err := secretContent(s, lookup)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, f.Close()) }()
	if os.Geteuid() == 0 {
		if err := f.Chown(s.UID, s.GID); err != nil {
			return err
		}
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Chmod(s.Mode)
}

func secretContent(s SecretOrigin, lookup func(string) (string, bool)) ([]byte, error) {
	if s.Variable != "" {
		if lookup != nil {
			if value, set := lookup(s.Variable); set {
				return []byte(value), nil
			}
		}
		return nil, fmt.Errorf("the variable %s is not set; set it for this command", s.Variable)
	}
	f, err := os.OpenFile(s.File, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", s.File)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = fmt.Errorf("%s is larger than %d bytes", s.File, maxSecret)
	}
	return data, err
}
