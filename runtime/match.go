package runtime

import (
	"fmt"
	"regexp"
	"slices"
)

// Matching returns the sorted IDs of the containers under the root that pattern
// matches, unanchored as with grep.
func (r *Runtime) Matching(pattern *regexp.Regexp) ([]string, error) {
	ids, err := subdirectories(r.containersDir())
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !ValidID(id) || !pattern.MatchString(id) }), nil
}
