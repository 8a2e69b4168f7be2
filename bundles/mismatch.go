package bundles

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// mismatches returns a *SpecError for each value below raw, in the order of the
// document, that encoding/json can't put into a value of type t. raw is
// well-formed JSON. A value of the wrong kind is reported once, not again for what
// is in it.
func mismatches(raw []byte, t reflect.Type, path string) []error {
	raw = bytes.TrimSpace(raw)
	if string(raw) == "null" {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return mismatches(raw, t.Elem(), path)
	case reflect.Struct:
		return memberMismatches(raw, path, func(name string) (reflect.Type, string) {
			return fieldType(t, name), joinName(path, name)
		}, t)
	case reflect.Map:
		return memberMismatches(raw, path, func(key string) (reflect.Type, string) {
			return t.Elem(), joinKey(path, key)
		}, t)
	case reflect.Slice:
		return elementMismatches(raw, t, path)
	}
	if json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
		return []error{mismatch(raw, t, path)}
	}
	return nil
}

// memberMismatches walks an object. locate gives type and path of a member; a nil
// type is a member that nobody reads.
func memberMismatches(raw []byte, path string, locate func(name string) (reflect.Type, string), t reflect.Type) []error {
	if raw[0] != '{' {
		return []error{mismatch(raw, t, path)}
	}
	var problems []error
	decoder := json.NewDecoder(bytes.NewReader(raw))
	_, _ = decoder.Token() // the opening brace; raw is well-formed
	for decoder.More() {
		token, err := decoder.Token()
		name, isName := token.(string)
		if err != nil || !isName {
			return append(problems, mismatch(raw, t, path))
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return append(problems, mismatch(raw, t, path))
		}
		if memberType, memberPath := locate(name); memberType != nil {
			problems = append(problems, mismatches(value, memberType, memberPath)...)
		}
	}
	return problems
}

func elementMismatches(raw []byte, t reflect.Type, path string) []error {
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return []error{mismatch(raw, t, path)}
	}
	var problems []error
	for i, element := range elements {
		problems = append(problems, mismatches(element, t.Elem(), index(path, i))...)
	}
	return problems
}

// fieldType returns the type of the struct field that encoding/json reads the
// member name into, or nil: an exact match first, else one without regard to case.
func fieldType(t reflect.Type, name string) reflect.Type {
	var folded reflect.Type
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous {
			if promoted := fieldType(field.Type, name); promoted != nil {
				return promoted
			}
			continue
		}
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if tag == name {
			return field.Type
		}
		if folded == nil && strings.EqualFold(tag, name) {
			folded = field.Type
		}
	}
	return folded
}

func mismatch(raw []byte, t reflect.Type, path string) *SpecError {
	return &SpecError{Path: path, Problem: "must be " + wanted(t) + ", not " + found(raw)}
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		most := int64(math.MaxInt64) >> (64 - t.Bits())
		return fmt.Sprintf("a whole number from %d to %d", -most-1, most)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-t.Bits()))
	}
	return "a " + t.Kind().String()
}

func found(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return string(raw)
	}
	const longest = 40
	if len(raw) > longest {
		return string(raw[:longest]) + "…"
	}
	return string(raw)
}

func index(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}

func joinName(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// joinKey is joinName for the keys of maps, which may be any string.
func joinKey(path, key string) string {
	for i, c := range []byte(key) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return path + "[" + strconv.Quote(key) + "]"
		}
	}
	if key == "" {
		return path + `[""]`
	}
	return joinName(path, key)
}
