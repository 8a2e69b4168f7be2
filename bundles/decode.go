package bundles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Decode reads one config.json document. It checks the form only: Validate checks
// the content.
//
// A document that isn't JSON gives a *SpecError with line and column (both from 1,
// columns counted in characters); values of a wrong type give one *SpecError each
// with its JSON path. Members that runtime-spec doesn't define are ignored.
func Decode(data []byte) (*specs.Spec, error) {
	if spec, ok := decodePlain(data); ok {
		return spec, nil
	}
	return decodeAny(data)
}

// decodeAny decodes by encoding/json, which defines what a document means.
func decodeAny(data []byte) (*specs.Spec, error) {
	var spec *specs.Spec
	err := json.Unmarshal(data, &spec)
	if err == nil {
		if spec == nil {
			return nil, &SpecError{Problem: "must be an object, not null"}
		}
		return spec, nil
	}
	var syntaxErr *json.SyntaxError
	if errors.As(err, &syntaxErr) {
		return nil, explainSyntax(data, syntaxErr)
	}
	// encoding/json knows the place only as a name without the array indexes and
	// map keys above it, and stops at the first problem. The document is walked
	// again: this may be slow, since it ends in an error.
	if problems := mismatches(data, reflect.TypeFor[specs.Spec](), ""); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return nil, &SpecError{Problem: err.Error()}
}

// Encode is the inverse of Decode: indented by tabs, with a newline at the end,
// the same bytes for the same spec.
func Encode(spec *specs.Spec) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	// config.json is no HTML: "a && b" in args should read so.
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "\t")
	if err := encoder.Encode(spec); err != nil {
		return nil, fmt.Errorf("encode %s: %w", ConfigFile, err)
	}
	return out.Bytes(), nil
}

func explainSyntax(data []byte, err *json.SyntaxError) *SpecError {
	if len(bytes.TrimSpace(data)) == 0 {
		return &SpecError{Problem: "not JSON: the file is empty"}
	}
	// Offset counts the bytes read up to and including the one at fault; at an
	// unexpected end there is none.
	at := min(max(int(err.Offset)-1, 0), len(data))
	before := data[:at]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return &SpecError{Problem: fmt.Sprintf("not JSON: line %d, column %d: %v", line, column, err)}
}
