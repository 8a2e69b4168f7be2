package runtime

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// systemdScopes begins the names of scopes whose spec names none.
const systemdScopes = "sandboxrun"

// systemdSpec returns spec with a cgroupsPath that systemd's manager takes:
// "slice:prefix:name", where an empty slice is system.slice, or user.slice of a
// user's own manager, and the unit is prefix-name.scope. spec is not changed.
func systemdSpec(spec *specs.Spec, id string) (*specs.Spec, error) {
	if !systemd.IsRunningSystemd() {
		return nil, errors.New("cannot let systemd make cgroups: it is not running on this host; leave --systemd-cgroup out")
	}
	changed := *spec
	var linux specs.Linux
	if spec.Linux != nil {
		linux = *spec.Linux
	}
	changed.Linux = &linux
	if linux.CgroupsPath == "" {
		linux.CgroupsPath = ":" + systemdScopes + ":" + unitName(id)
	}
	if err := checkSystemdPath(linux.CgroupsPath); err != nil {
		return nil, err
	}
	return &changed, nil
}

func checkSystemdPath(path string) error {
	var problem string
	parts := strings.Split(path, ":")
	switch {
	case len(parts) != 3:
		problem = "it has not three parts"
	case parts[0] != "" && !strings.HasSuffix(parts[0], ".slice"):
		problem = fmt.Sprintf("%q is no name of a slice", parts[0])
	case parts[2] == "":
		problem = "the name is empty"
	case strings.Contains(path, "/"):
		problem = "a unit's name has no slash"
	default:
		return nil
	}
	return fmt.Errorf("config.json: linux.cgroupsPath: %q: %s; with --systemd-cgroup write slice:prefix:name, such as system.slice:sandboxrun:web", path, problem)
}

// unitName escapes what an ID may hold and a unit's name may not (systemd.unit(5),
// "String Escaping for Inclusion in Unit Names"). A name that ends with ".slice"
// would be taken for that of a slice.
func unitName(id string) string {
	name := strings.ReplaceAll(id, "+", `\x2b`)
	if rest, found := strings.CutSuffix(name, ".slice"); found {
		name = rest + `\x2eslice`
	}
	return name
}

// withoutProperties takes the dump of all properties out of libcontainer's error
// about a unit that systemd refused: `unable to start unit "X" (properties [{…}]):
// why`.
func withoutProperties(text string) string {
	const begin, end = " (properties [", "]): "
	from := strings.Index(text, begin)
	to := strings.LastIndex(text, end)
	if from < 0 || to < from {
		return text
	}
	return text[:from] + ": " + text[to+len(end):]
}
