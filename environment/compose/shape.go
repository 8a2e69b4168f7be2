package compose

import (
	"slices"
	"strings"
)

// kind is a set of the sorts of values that a place can have.
type kind uint8

const (
	null kind = 1 << iota
	boolean
	integer
	number
	text
	list
	mapping
)

// String names them as people do: "text or a list".
func (k kind) String() string {
	var words []string
	for _, sort := range []struct {
		kind kind
		name string
	}{{text, "text"}, {integer, "a whole number"}, {number, "a number"}, {boolean, "true or false"}, {list, "a list"}, {mapping, "a mapping"}} {
		if k&sort.kind != 0 {
			words = append(words, sort.name)
		}
	}
	if len(words) == 0 {
		return "nothing"
	}
	if last := len(words) - 1; last > 0 {
		return strings.Join(words[:last], ", ") + " or " + words[last]
	}
	return words[0]
}

// shape is what the specification's schema says of one place. Alternatives are
// merged: in the specification they always differ by kind.
type shape struct {
	kinds kind
	// keys of a mapping, by the alphabet.
	keys []shapeKey
	// others is the shape of keys that are not among keys; nil where there are none.
	others *shape
	// names says how keys of others are spelled.
	names spelled
	// open mappings take any key.
	open bool
	// extensible mappings take keys that begin with "x-".
	extensible bool
	// items of a list, which are to be different from each other where distinct.
	items    *shape
	distinct bool
	required []string
	// words are all that a text can be.
	words []string
}

type shapeKey struct {
	name  string
	shape *shape
}

// spelled is how free keys are spelled.
type spelled uint8

const (
	asLiked spelled = iota
	asName          // letters, digits, ".", "_" and "-"
	asLower         // a to z
)

func (s spelled) allows(key string) bool {
	for _, c := range []byte(key) {
		lower := c >= 'a' && c <= 'z'
		plain := lower || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if s == asName && !plain || s == asLower && !lower {
			return false
		}
	}
	return key != ""
}

func (s *shape) key(name string) *shape {
	if i, found := slices.BinarySearchFunc(s.keys, name, func(k shapeKey, name string) int { return strings.Compare(k.name, name) }); found {
		return s.keys[i].shape
	}
	return nil
}

func (s *shape) keyNames() []string {
	var names []string
	for _, k := range s.keys {
		names = append(names, k.name)
	}
	return names
}
