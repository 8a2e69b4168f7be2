package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCheckSystemdPath(t *testing.T) {
	for path, problem := range map[string]string{
		"system.slice:sandboxrun:web": "",
		":sandboxrun:web":             "",
		"user-a.slice::web":           "",
		"/web":                        "it has not three parts",
		"system.slice:web":            "it has not three parts",
		"a.slice:b:c:d":               "it has not three parts",
		"system:sandboxrun:web":       `"system" is no name of a slice`,
		"system.slice:sandboxrun:":    "the name is empty",
		"system.slice:a/b:web":        "a unit's name has no slash",
	} {
		err := checkSystemdPath(path)
		if problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem+"; with --systemd-cgroup write slice:prefix:name")) {
			t.Errorf("checkSystemdPath(%q) = %v, want %q", path, err, problem)
		}
	}
}

func TestUnitNameEscapesWhatAnIDMayHold(t *testing.T) {
	for id, want := range map[string]string{
		"web": "web", "a.b-c_d": "a.b-c_d", "c++": `c\x2b\x2b`, "web.slice": `web\x2eslice`, "+.slice": `\x2b\x2eslice`, "web.slice.x": "web.slice.x",
	} {
		if got := unitName(id); got != want {
			t.Errorf("unitName(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestRefusedUnitIsToldWithoutItsProperties(t *testing.T) {
	err := errors.New(`unable to start container process: unable to apply cgroup configuration: unable to start unit "a.scope" ` +
		`(properties [{Name:Description Value:"libcontainer container a"} {Name:X Value:@as ["]): "]}]): Cannot set property X, or unknown property.`)
	want := `cannot start: systemd refuses the container's unit; see linux.cgroupsPath, the limits, and the annotations org.systemd.property.* ` +
		`(unable to start container process: unable to apply cgroup configuration: unable to start unit "a.scope": Cannot set property X, or unknown property.)`
	if got := explainLibcontainer(err).Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, text := range []string{"", "no list", " (properties [never ends", "]): (properties ["} {
		if got := withoutProperties(text); got != text {
			t.Errorf("withoutProperties(%q) = %q", text, got)
		}
	}
}

func TestSystemdCgroupTakesSystemd(t *testing.T) {
	if systemd.IsRunningSystemd() {
		t.Skip("this host has systemd: test/systemd shows what happens then")
	}
	if _, err := systemdSpec(&specs.Spec{}, "web"); err == nil || err.Error() != "cannot let systemd make cgroups: it is not running on this host; leave --systemd-cgroup out" {
		t.Errorf("got %v", err)
	}
}
