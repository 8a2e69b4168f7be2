package environment

import (
	"fmt"
	"strings"
)

// MaxName is how long a name may be: control sockets have to fit into the 107 bytes
// of unix(7) below the usual root.
const MaxName = 63

// CheckName returns an error that wraps ErrInvalidName unless name is one of an
// environment: [a-z0-9][a-z0-9_-]*, at most 63 characters, as compose has it.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("cannot name an environment %q: it is empty; give it a name by -p: %w", name, ErrInvalidName)
	case len(name) > MaxName:
		return fmt.Errorf("cannot name an environment %.80q: it is longer than %d characters; give it another name by -p: %w", name, MaxName, ErrInvalidName)
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '-') {
			return fmt.Errorf("cannot name an environment %q: a name has lower-case letters, digits, - and _, and begins with a letter or digit; "+
				"give it another by -p: %w", name, ErrInvalidName)
		}
	}
	return nil
}

// NameFrom makes a name of any text, such as a directory's, as compose does: what
// cannot be in a name is left out. The result may be empty.
func NameFrom(text string) string {
	var name strings.Builder
	for _, c := range strings.ToLower(text) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case (c == '_' || c == '-') && name.Len() > 0:
		default:
			continue
		}
		name.WriteRune(c)
		if name.Len() == MaxName {
			break
		}
	}
	return name.String()
}
