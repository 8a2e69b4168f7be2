package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Environment is what List tells of one.
type Environment struct {
	Name string
	// Alive says that it is up, or being started or removed.
	Alive bool
	// Record is nil for one of which only kept volumes, or nothing but a lock, are there,
	// and for one whose record cannot be read: Problem says why.
	Record  *Record
	Problem error
	// VolumesKept says that there are volumes that the next environment of this name gets.
	VolumesKept bool
}

// List returns all environments, alive, dead and those of which only volumes are
// there, by name. What vanishes meanwhile is left out.
func (r Roots) List() ([]Environment, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var list []Environment
	for _, name := range names {
		alive, err := r.Alive(name)
		if err != nil {
			return nil, err
		}
		e := Environment{Name: name, Alive: alive, VolumesKept: isKept(r.Of(name))}
		e.Record, err = r.Load(name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			e.Problem = err
		}
		if !e.Alive && e.Record == nil && e.Problem == nil && !e.VolumesKept && !r.hasData(name) {
			continue
		}
		list = append(list, e)
	}
	return list, nil
}

func (r Roots) hasData(name string) bool {
	_, err := os.Lstat(r.Of(name).Data)
	return err == nil
}

// names returns the names of all that has a directory or a lock, sorted.
func (r Roots) names() ([]string, error) {
	var names []string
	for _, dir := range []string{r.environments(), r.dataEnvironments(), r.locks()} {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list environments: %w", err)
		}
		for _, e := range entries {
			if CheckName(e.Name()) == nil {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
