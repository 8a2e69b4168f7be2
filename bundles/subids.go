package bundles

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mapSubordinateIDs adds the IDs that /etc/subuid and /etc/subgid give to the user,
// from 1 on in the container. Only newuidmap and newgidmap may map them, so without
// those, or without IDs of both kinds, spec stays as it is: a container with one
// user.
func mapSubordinateIDs(spec *specs.Spec, uid uint32) {
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return
		}
	}
	owner := []string{strconv.FormatUint(uint64(uid), 10)}
	if u, err := user.LookupId(owner[0]); err == nil {
		owner = append(owner, u.Username)
	}
	uids, gids := readSubordinateIDs("/etc/subuid", owner), readSubordinateIDs("/etc/subgid", owner)
	if len(uids) == 0 || len(gids) == 0 {
		return
	}
	spec.Linux.UIDMappings = append(spec.Linux.UIDMappings, uids...)
	spec.Linux.GIDMappings = append(spec.Linux.GIDMappings, gids...)
}

// readSubordinateIDs gives none where the file cannot be read, as newuidmap does.
func readSubordinateIDs(path string, owner []string) []specs.LinuxIDMapping {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	return parseSubordinateIDs(file, owner)
}

// maxMappings is how many lines the kernel takes (user_namespaces(7), Linux 4.15),
// less the one of the user.
const maxMappings = 340 - 1

// parseSubordinateIDs reads lines "OWNER:FIRST:COUNT" (subuid(5)), where OWNER is a
// name or a number: one of owner. As newuidmap, it passes over lines of another
// form. It also passes over IDs that an earlier line has, which the kernel refuses.
func parseSubordinateIDs(from io.Reader, owner []string) []specs.LinuxIDMapping {
	var list []specs.LinuxIDMapping
	next := uint32(1)
	lines := bufio.NewScanner(from)
	for lines.Scan() && len(list) < maxMappings {
		m, ok := parseSubordinateLine(lines.Text(), owner)
		if !ok || overlaps(list, m) || m.Size > maxID-next {
			continue
		}
		m.ContainerID = next
		next += m.Size
		list = append(list, m)
	}
	return list
}

// maxID is -1, which is no ID but "none" (credentials(7)).
const maxID = 1<<32 - 1

func parseSubordinateLine(line string, owner []string) (specs.LinuxIDMapping, bool) {
	fields := strings.Split(strings.TrimSpace(line), ":")
	if len(fields) != 3 || !slices.Contains(owner, fields[0]) {
		return specs.LinuxIDMapping{}, false
	}
	first, err1 := strconv.ParseUint(fields[1], 10, 32)
	count, err2 := strconv.ParseUint(fields[2], 10, 32)
	if err1 != nil || err2 != nil || count == 0 || first+count > maxID {
		return specs.LinuxIDMapping{}, false
	}
	return specs.LinuxIDMapping{HostID: uint32(first), Size: uint32(count)}, true
}

func overlaps(list []specs.LinuxIDMapping, m specs.LinuxIDMapping) bool {
	for _, other := range list {
		if m.HostID < other.HostID+other.Size && other.HostID < m.HostID+m.Size {
			return true
		}
	}
	return false
}
