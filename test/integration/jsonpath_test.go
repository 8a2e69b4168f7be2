package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is one part of a path such as process.args[0]: a member or an index.
type step struct {
	name  string
	index int // -1 for a member
}

// parsePath reads a.b[0]["c.d"].e; "." is the whole document.
func parsePath(path string) ([]step, error) {
	var steps []step
	rest := strings.TrimPrefix(path, ".")
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, `["`):
			name, after, ok := strings.Cut(rest[2:], `"]`)
			if !ok {
				return nil, fmt.Errorf("path %q: \" without end", path)
			}
			steps, rest = append(steps, step{name, -1}), after
		case rest[0] == '[':
			number, after, _ := strings.Cut(rest[1:], "]")
			index, err := strconv.Atoi(number)
			if err != nil {
				return nil, fmt.Errorf("path %q: %q is no index", path, number)
			}
			steps, rest = append(steps, step{"", index}), after
		default:
			rest = strings.TrimPrefix(rest, ".")
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			steps, rest = append(steps, step{rest[:end], -1}), rest[end:]
		}
	}
	return steps, nil
}

// lookUp returns the value at path. A missing member is an error, null is nil.
func lookUp(document any, path string) (any, error) {
	steps, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	value := document
	for _, s := range steps {
		if s.index >= 0 {
			list, ok := value.([]any)
			if !ok || s.index >= len(list) {
				return nil, fmt.Errorf("%s: there is no element %d in %s", path, s.index, text(value))
			}
			value = list[s.index]
			continue
		}
		object, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: %s has no members", path, text(value))
		}
		if value, ok = object[s.name]; !ok {
			return nil, fmt.Errorf("%s: there is no member %q, only %s", path, s.name, strings.Join(slices.Sorted(maps.Keys(object)), ", "))
		}
	}
	return value, nil
}

func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

// parseValue takes JSON, and anything else as a string.
func parseValue(s string) any {
	var value any
	if err := json.Unmarshal([]byte(s), &value); err != nil {
		return s
	}
	return value
}

var errNotSo = fmt.Errorf("it is not so")

// compare decides VALUE OP OPERAND; the error wraps errNotSo if it does not hold.
func compare(value any, op, operand string) error {
	holds, err := decide(value, op, operand)
	if err != nil {
		return err
	}
	if !holds {
		return fmt.Errorf("%w: %s %s %s", errNotSo, text(value), op, operand)
	}
	return nil
}

func decide(value any, op, operand string) (bool, error) {
	switch op {
	case "==":
		return reflect.DeepEqual(value, parseValue(operand)), nil
	case "!=":
		return !reflect.DeepEqual(value, parseValue(operand)), nil
	case "is":
		return kindOf(value) == operand, nil
	case "in":
		list, ok := parseValue(operand).([]any)
		if !ok {
			return false, fmt.Errorf("%q is no JSON array", operand)
		}
		return slices.ContainsFunc(list, func(each any) bool { return reflect.DeepEqual(each, value) }), nil
	case "matches":
		pattern, err := regexp.Compile(operand)
		if err != nil {
			return false, err
		}
		s, ok := value.(string)
		return ok && pattern.MatchString(s), nil
	case "len":
		length, err := strconv.Atoi(operand)
		if err != nil {
			return false, err
		}
		v := reflect.ValueOf(value)
		if !v.IsValid() || v.Kind() != reflect.Slice && v.Kind() != reflect.Map && v.Kind() != reflect.String {
			return false, fmt.Errorf("%s has no length", text(value))
		}
		return v.Len() == length, nil
	}
	return decideNumber(value, op, operand)
}

func decideNumber(value any, op, operand string) (bool, error) {
	b, err := strconv.ParseFloat(operand, 64)
	if err != nil {
		return false, fmt.Errorf("%q is no number", operand)
	}
	a, ok := value.(float64)
	if !ok {
		return false, nil
	}
	switch op {
	case "<":
		return a < b, nil
	case "<=":
		return a <= b, nil
	case ">":
		return a > b, nil
	case ">=":
		return a >= b, nil
	}
	return false, fmt.Errorf("there is no comparison %q", op)
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}

// set returns document with the value at steps changed by change, which gets nil
// for what is missing; missing objects are made. Returning removed takes the
// member away.
func set(document any, steps []step, change func(any) (any, error)) (any, error) {
	if len(steps) == 0 {
		return change(document)
	}
	s := steps[0]
	if s.index >= 0 {
		list, ok := document.([]any)
		if !ok || s.index >= len(list) {
			return nil, fmt.Errorf("there is no element %d in %s", s.index, text(document))
		}
		value, err := set(list[s.index], steps[1:], change)
		if err != nil {
			return nil, err
		}
		if value == removed {
			return slices.Delete(list, s.index, s.index+1), nil
		}
		list[s.index] = value
		return list, nil
	}
	if document == nil {
		document = map[string]any{}
	}
	object, ok := document.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s has no member %q", text(document), s.name)
	}
	value, err := set(object[s.name], steps[1:], change)
	if err != nil {
		return nil, err
	}
	if value == removed {
		delete(object, s.name)
	} else {
		object[s.name] = value
	}
	return object, nil
}

// removed is the value of a member that is to go.
var removed any = new(byte)

// edit applies PATH=VALUE, PATH+=VALUE or PATH-.
func edit(document any, expression string) (any, error) {
	path, value, isAssignment := strings.Cut(expression, "=")
	change := func(any) (any, error) { return parseValue(value), nil }
	if !isAssignment {
		var ok bool
		if path, ok = strings.CutSuffix(expression, "-"); !ok {
			return nil, fmt.Errorf("%q is neither PATH=VALUE, PATH+=VALUE nor PATH-", expression)
		}
		change = func(any) (any, error) { return removed, nil }
	} else if base, isAppend := strings.CutSuffix(path, "+"); isAppend {
		path = base
		change = func(old any) (any, error) {
			list, ok := old.([]any)
			if old != nil && !ok {
				return nil, fmt.Errorf("%s is no array", text(old))
			}
			return append(list, parseValue(value)), nil
		}
	}
	steps, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	return set(document, steps, change)
}
