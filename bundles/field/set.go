package field

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ErrField says that an assignment cannot be done.
var ErrField = errors.New("cannot set a field")

// Set carries out assignments PATH=VALUE on spec, in order. A text takes VALUE as
// it is; numbers and booleans are read as JSON; lists, objects and maps are JSON
// as a whole. An empty VALUE of anything but a text unsets it. An index may be that
// of an item or the next one. What is missing on the way is made. The error wraps
// ErrField and names the path; spec then has the assignments before it.
func Set(spec *specs.Spec, assignments ...string) error {
	for _, a := range assignments {
		if err := set(spec, a); err != nil {
			return fmt.Errorf("%w: --set %s: %w", ErrField, strconv.Quote(shortened(a)), err)
		}
	}
	return nil
}

func shortened(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

func set(spec *specs.Spec, assignment string) error {
	steps, rest, err := parsePath(assignment)
	if err != nil {
		return err
	}
	value, found := strings.CutPrefix(rest, "=")
	if !found {
		return errors.New("there is no value; write PATH=VALUE")
	}
	return assign(reflect.ValueOf(spec).Elem(), steps, "", value)
}

// assign sets what steps lead to from v, whose path is at.
func assign(v reflect.Value, steps []step, at, value string) error {
	if len(steps) == 0 {
		return assignValue(v, at, value)
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return assign(v.Elem(), steps, at, value)
	}
	s := steps[0]
	next := extend(at, s)
	switch v.Kind() {
	case reflect.Struct:
		member, err := memberOf(v, s, at)
		if err != nil {
			return err
		}
		return assign(member, steps[1:], next, value)
	case reflect.Slice:
		if s.isKey {
			return fmt.Errorf("%s is a list; write an index: %s[0]", at, at)
		}
		if s.index > v.Len() {
			return fmt.Errorf("%s has %d items; the next index is %d", at, v.Len(), v.Len())
		}
		if s.index == v.Len() {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		}
		return assign(v.Index(s.index), steps[1:], next, value)
	case reflect.Map:
		return assignEntry(v, steps, at, value)
	}
	return fmt.Errorf("%s is one value and has no %s", at, strings.TrimPrefix(next, at))
}

func memberOf(v reflect.Value, s step, at string) (reflect.Value, error) {
	if !s.isKey {
		return reflect.Value{}, fmt.Errorf("%s is an object, not a list", at)
	}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == s.name {
			return v.Field(i), nil
		}
		names = append(names, name)
	}
	slices.Sort(names)
	where := at
	if where == "" {
		where = "config.json"
	}
	return reflect.Value{}, fmt.Errorf("%s has no member %q; there are %s", where, s.name, strings.Join(names, ", "))
}

// assignEntry sets an entry of a map, whose values cannot be changed in place.
func assignEntry(v reflect.Value, steps []step, at, value string) error {
	if !steps[0].isKey || v.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("%s is a mapping; write a name: %s[\"name\"]", at, at)
	}
	key := reflect.ValueOf(steps[0].name).Convert(v.Type().Key())
	entry := reflect.New(v.Type().Elem()).Elem()
	if v.MapIndex(key).IsValid() {
		entry.Set(v.MapIndex(key))
	}
	if err := assign(entry, steps[1:], extend(at, steps[0]), value); err != nil {
		return err
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	v.SetMapIndex(key, entry)
	return nil
}

func assignValue(v reflect.Value, at, value string) error {
	target := v.Type()
	if target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	if target.Kind() == reflect.String {
		text := reflect.New(target)
		text.Elem().SetString(value)
		if v.Kind() == reflect.Pointer {
			v.Set(text)
		} else {
			v.Set(text.Elem())
		}
		return nil
	}
	if value == "" {
		v.SetZero()
		return nil
	}
	parsed := reflect.New(v.Type())
	decoder := json.NewDecoder(bytes.NewReader([]byte(value)))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(parsed.Interface())
	if err == nil && decoder.More() {
		err = errors.New("something follows the value")
	}
	if err != nil {
		return fmt.Errorf("%s takes %s, not %q (%w)", at, describe(target), shortened(value), err)
	}
	v.Set(parsed.Elem())
	return nil
}

// describe names a type for people.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a JSON list"
	case reflect.Map, reflect.Struct:
		return "a JSON object"
	}
	return "a JSON value"
}
