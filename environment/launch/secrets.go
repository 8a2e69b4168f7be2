package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// maxSecret bounds one content: they are in memory, of the supervisor and of a tmpfs.
const maxSecret = 1 << 20

// readSecrets returns the contents of all secrets and configs, or all that is wrong
// with them.
func readSecrets(secrets []plan.Secret, lookup func(string) (string, bool)) ([]environment.SecretContent, error) {
	var contents []environment.SecretContent
	var problems []error
	for _, s := range secrets {
		content, err := readSecret(s, lookup)
		if err != nil {
			kind, name := "secret", s.Name
			if config, isConfig := strings.CutPrefix(s.Name, "config:"); isConfig {
				kind, name = "config", config
			}
			problems = append(problems, &secretError{text: fmt.Sprintf("cannot read %s %q: %v", kind, name, err), err: err})
			continue
		}
		contents = append(contents, environment.SecretContent{Name: s.Name, Content: content})
	}
	return contents, errors.Join(problems...)
}

// secretError is a leaf error whose whole text is for the user.
type secretError struct {
	text string
	err  error
}

func (e *secretError) Error() string   { return e.text }
func (e *secretError) Unwrap() []error { return []error{ErrSecret, e.err} }

func readSecret(s plan.Secret, lookup func(string) (string, bool)) ([]byte, error) {
	switch {
	case s.Variable != "":
		if lookup == nil {
			lookup = os.LookupEnv
		}
		value, found := lookup(s.Variable)
		if !found {
			return nil, fmt.Errorf("the variable %s is not set; set it, or put it into the environment file", s.Variable)
		}
		return []byte(value), nil
	case s.File != "":
		return readSecretFile(s.File)
	default:
		return []byte(s.Inline), nil
	}
}

func readSecretFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s; make it, or name another: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory; name a file", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSecret {
		return nil, fmt.Errorf("%s has more than %d bytes; mount a large file as a volume", path, maxSecret)
	}
	return content, nil
}
