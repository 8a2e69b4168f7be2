package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestParseOOMLine(t *testing.T) {
	const tail = ") total-vm:104kB, anon-rss:9kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:60kB oom_score_adj:0"
	selected := func(scope, group, comm string, pid int) oomEvent {
		return oomEvent{kind: oomSelected, scope: scope, group: group, comm: comm, pid: pid}
	}
	memcg := func(groups string) string {
		return "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=" + groups
	}
	global := func(cpuset, rest string) string {
		return "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=" + cpuset + ",mems_allowed=0-1,global_oom,task_memcg=" + rest
	}
	for line, want := range map[string]oomEvent{
		memcg("/x,task_memcg=/x,task=foo,pid=123,uid=0"): selected("/x", "/x", "foo", 123),
		memcg("/x,task_memcg=/x/y,task=,pid=1,uid=99"):   selected("/x", "/x/y", "", 1),
		memcg("/,task_memcg=/x,task=foo,pid=1,uid=0"):    selected("/", "/x", "foo", 1),
		global("/", "/a/b,task=foo,pid=5,uid=0"):         selected("", "/a/b", "foo", 5),
		global("/", "/,task=init,pid=5,uid=0"):           selected("", "/", "init", 5),
		// Names of processes that imitate the line.
		memcg("/x,task_memcg=/x,task=a,pid=1,uid=0,pid=123,uid=0"): selected("/x", "/x", "a,pid=1,uid=0", 123),
		memcg("/x,task_memcg=/x,task=a,task=b,pid=123,uid=0"):      selected("/x", "/x", "a,task=b", 123),
		memcg("/x,task_memcg=/x,task=(a b) ,\n,pid=2,uid=0"):       selected("/x", "/x", "(a b) ,\n", 2),
		memcg("/x,task_memcg=/x,task=,task_memcg=/y,pid=2,uid=0"):  selected("/x", "/x", ",task_memcg=/y", 2),
		memcg("/x,task_memcg=/x,task=,global_oom,tas,pid=2,uid=0"): selected("/x", "/x", ",global_oom,tas", 2),
		// Groups that a container makes and names to place the victim elsewhere.
		memcg("/x/e,task_memcg=/y,task_memcg=/x/e,task_memcg=/y/z,task=a,pid=2,uid=0"): selected("/x/e,task_memcg=/y", "/x/e,task_memcg=/y/z", "a", 2),
		memcg("/x/,global_oom,task_memcg=/y,task_memcg=/x/,global_oom,task_memcg=/y,task=a,pid=2,uid=0"): selected(
			"/x/,global_oom,task_memcg=/y", "/x/,global_oom,task_memcg=/y", "a", 2),
		global("e,global_oom,task_memcg=", "/x,task=a,pid=2,uid=0"): selected("", "/x", "a", 2),

		"Memory cgroup out of memory: Killed process 123 (foo" + tail:                              {kind: oomKilled, pid: 123, comm: "foo", memory: "104kB"},
		"Out of memory: Killed process 1 (a) (b" + tail:                                            {kind: oomKilled, pid: 1, comm: "a) (b", memory: "104kB"},
		"Out of memory (oom_kill_allocating_task): Killed process 9 (" + tail:                      {kind: oomKilled, pid: 9, memory: "104kB"},
		"Memory cgroup out of memory: Killed process 7 () total-vm:9k" + tail:                      {kind: oomKilled, pid: 7, comm: ") total-vm:9k", memory: "104kB"},
		"Tasks in /x/y are going to be killed due to memory.oom.group set":                         {kind: oomGroupKill, group: "/x/y"},
		"Memory cgroup out of memory: OOM victim 12 (x) is already exiting. Skip killing the task": {kind: oomSkipped},
	} {
		got, ok := parseOOMLine(line)
		if !ok || got != want {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{
		"", "oom-kill:constraint=", "foo invoked oom-killer: gfp_mask=0xcc0", "oom_reaper: reaped process 12 (x), now anon-rss:0kB",
		memcg("/x,task_memcg=/y,task=foo,pid=123,uid=0"), // the victim isn't in the scope
		memcg("/x,task_memcg=/x,task=foo,pid=0,uid=0"),
		memcg("/x,task_memcg=/x,task=foo,pid=-1,uid=0"),
		memcg("/x,task_memcg=/x,task=foo,pid=123,uid="),
		memcg("/x,task_memcg=/x,task=0123456789abcdef,pid=1,uid=0"), // longer than the kernel prints
		memcg("/x,task=foo,pid=123,uid=0"),
		memcg("x,task_memcg=x,task=foo,pid=123,uid=0"),
		"Memory cgroup out of memory: Killed process 0 (a" + tail,
		"Memory cgroup out of memory: Killed process 1 (0123456789abcdef" + tail,
		"Memory cgroup out of memory: Killed process 1 (a)",
		"a: Killed process 1 (a" + tail,
		"Tasks in x are going to be killed due to memory.oom.group set",
	} {
		if got, ok := parseOOMLine(line); ok {
			t.Errorf("%s\ntaken for %+v", line, got)
		}
	}
}

func TestParseKmsgRecord(t *testing.T) {
	for record, want := range map[string]string{
		"6,1234,5678901,-;hello; world\n SUBSYSTEM=x\n": "hello; world",
		"3,1,2,-,caller=T1;a\\x0ab\\x5cx41":             "a\nb\\x41",
		"4,1,2,c;\\x":                                   "\\x",
		"4,1,2,-;\\xzz\\x4":                             "\\xzz\\x4",
	} {
		got, micros, ok := parseKmsgRecord(record)
		if !ok || got != want || micros == 0 {
			t.Errorf("%q: %q, %d, %v", record, got, micros, ok)
		}
	}
	for _, record := range []string{"", "6,1,2", "x,1,2,-;a", "6;a", "6,1,x,-;a", "14,1,2,-;written by a user", "-1,1,2,-;a"} {
		if got, _, ok := parseKmsgRecord(record); ok {
			t.Errorf("%q gave %q", record, got)
		}
	}
}

func TestVictimsOfRecords(t *testing.T) {
	selected := func(group string, pid int, comm string) string {
		return fmt.Sprintf("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=%s,task_memcg=%s,task=%s,pid=%d,uid=0",
			group, group, comm, pid)
	}
	sized := func(pid int, comm, size string) string {
		return fmt.Sprintf("Memory cgroup out of memory: Killed process %d (%s) total-vm:%s, anon-rss:1kB", pid, comm, size)
	}
	killed := func(pid int, comm string) string { return sized(pid, comm, fmt.Sprint(pid, "kB")) }
	skipped := "Memory cgroup out of memory: OOM victim 1 (x) is already exiting. Skip killing the task"
	whole := func(group string) string {
		return "Tasks in " + group + " are going to be killed due to memory.oom.group set"
	}
	const later = "-" // a record a second after the one before it
	for name, test := range map[string]struct {
		lines []string
		ours  func(int) bool
		want  []Victim
	}{
		"none":         {nil, nil, []Victim{}},
		"ours":         {[]string{selected("/a/b", 1, "x"), killed(1, "x")}, nil, []Victim{{1, "x"}}},
		"below ours":   {[]string{selected("/a/b/c", 1, "x"), killed(1, "x")}, nil, []Victim{{1, "x"}}},
		"a neighbour":  {[]string{selected("/a/bc", 1, "x"), killed(1, "x"), selected("/a", 2, "x"), killed(2, "x")}, nil, []Victim{}},
		"not executed": {[]string{selected("/a/b", 1, "x")}, nil, []Victim{}},
		"a neighbour, whatever ours says": {[]string{selected("/z", 1, "x"), killed(1, "x")},
			func(int) bool { return true }, []Victim{}},
		"rate limited": {[]string{killed(1, "x"), killed(2, "y"), killed(3, "z")},
			func(pid int) bool { return pid != 2 }, []Victim{{1, "x"}, {3, "z"}}},
		"rate limited, nobody to ask": {[]string{killed(1, "x")}, nil, []Victim{}},
		"a number used again": {[]string{selected("/a/b", 1, "x"), killed(1, "x"), selected("/z", 1, "n"), killed(1, "n")}, nil,
			[]Victim{{1, "x"}}},
		"killed by the name of a thread": {[]string{selected("/a/b", 1, "x"), killed(9, "thread"), killed(8, "z")}, nil, []Victim{{1, "x"}}},
		"exiting by itself":              {[]string{selected("/a/b", 1, "x"), skipped, killed(8, "z")}, nil, []Victim{}},
		"the whole group, the first as a thread": {[]string{selected("/a/b", 1, "x"), sized(1, "x", "7kB"), whole("/a/b"), sized(2, "y", "5kB"),
			sized(9, "thread", "7kB")}, nil, []Victim{{1, "x"}, {2, "y"}}},
		"the whole group, all of a size": {[]string{selected("/a/b", 1, "x"), sized(1, "x", "7kB"), whole("/a/b"), sized(2, "y", "7kB"),
			sized(3, "z", "7kB"), sized(1, "x", "7kB")}, nil, []Victim{{1, "x"}, {2, "y"}, {3, "z"}}},
		"the whole group, rate limited": {[]string{killed(1, "x"), whole("/a/b"), killed(2, "y")}, nil, []Victim{{1, "x"}, {2, "y"}}},
		"the whole of a group above": {[]string{selected("/a/c", 1, "x"), killed(1, "x"), whole("/a"), killed(2, "y"), killed(3, "z")},
			func(pid int) bool { return pid == 3 }, []Victim{{3, "z"}}},
		"the whole group, its first elsewhere": {[]string{selected("/a/b/c", 1, "x"), skipped, whole("/a/b"), killed(2, "y")}, nil, []Victim{{2, "y"}}},
		"the whole group": {[]string{selected("/a/b", 1, "x"), killed(1, "x"), whole("/a/b"), killed(1, "x"), killed(2, "y"), killed(3, "z")}, nil,
			[]Victim{{1, "x"}, {2, "y"}, {3, "z"}}},
		"the whole of a neighbour": {[]string{selected("/z", 1, "x"), killed(1, "x"), whole("/z"), killed(2, "y")}, nil, []Victim{}},
		"long after a whole group": {[]string{selected("/a/b", 1, "x"), killed(1, "x"), whole("/a/b"), killed(2, "y"), later, killed(3, "z")}, nil,
			[]Victim{{1, "x"}, {2, "y"}}},
	} {
		l := &OOMLog{fd: -1}
		micros := 1000
		for _, line := range test.lines {
			micros += 10
			if line == later {
				micros += 1_000_000
			}
			l.takeLocked(fmt.Sprintf("6,7,%d,-;%s\n", micros, line))
		}
		if got := victimsOf(l.events, groupPath{path: "/a/b"}, test.ours); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestGroupPathHolds(t *testing.T) {
	for _, test := range []struct {
		group groupPath
		path  string
		want  bool
	}{
		{groupPath{path: "/a"}, "/a", true}, {groupPath{path: "/a"}, "/a/b", true}, {groupPath{path: "/a"}, "/ab", false},
		{groupPath{path: "/a"}, "/x/a", false}, {groupPath{path: "/a", suffix: true}, "/x/a", true},
		{groupPath{path: "/a", suffix: true}, "/x/a/b", true}, {groupPath{path: "/a", suffix: true}, "/x/ab", false},
		{groupPath{path: "/"}, "/x", false}, {groupPath{}, "", false}, {groupPath{path: "", suffix: true}, "/x", false},
	} {
		if got := test.group.holds(test.path); got != test.want {
			t.Errorf("%+v holds %q: %v", test.group, test.path, got)
		}
	}
}

func TestMountOf(t *testing.T) {
	const info = `24 1 0:22 / / rw - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs none rw
31 30 0:27 /docker/abc /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/a\040b rw - cgroup cgroup rw,pids
`
	for path, want := range map[string][2]string{
		"/sys/fs/cgroup/memory/x": {"/docker/abc", "/sys/fs/cgroup/memory"},
		"/sys/fs/cgroup/memoryx":  {"/", "/sys/fs/cgroup"},
		"/sys/fs/cgroup/a b/x":    {"/", "/sys/fs/cgroup/a b"},
		"/x":                      {"/", "/"},
	} {
		root, point := mountOf(info, path)
		if got := [2]string{root, point}; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

// Mounts count as the calling thread sees them: the process's first thread may be in a container's mount
// namespace.
func TestMemoryPathIsThatOfTheThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a mount namespace as root")
	}
	dir := t.TempDir()
	g := &Group{unified: dir + "/a/b"}
	paths := make(chan string)
	go func() {
		defer close(paths)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			t.Errorf("make private: %v", err)
			return
		}
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Errorf("mount: %v", err)
			return
		}
		paths <- g.memoryPath().path
		// The first thread of a process stays when a goroutine ends on it.
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}()
	if got := <-paths; got != "/a/b" {
		t.Errorf("path %q, want /a/b", got)
	}
	<-paths // closed
	if got := g.memoryPath().path; !strings.HasSuffix(got, dir+"/a/b") {
		t.Errorf("path %q in the host's mount namespace, which has no mount there", got)
	}
}

func TestOOMLogUnavailable(t *testing.T) {
	if _, err := openOOMLog(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, ErrOOMLog) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent log: %v", err)
	}
	l := &OOMLog{fd: -1}
	if _, err := l.Victims(&Group{unified: "/x"}, nil); !errors.Is(err, ErrOOMLog) {
		t.Errorf("closed log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// FuzzOOMLine checks the parser's bounds on anything and that a line built around hostile names gives the
// kernel's own pid, the victim's own group and, for names without keywords, the name itself.
func FuzzOOMLine(f *testing.F) {
	f.Add("foo", "x/y", 123)
	f.Add("a,pid=1,uid=0", "x,task_memcg=/y", 1)
	f.Add(",task=b", ",oom_memcg=/a,task_memcg=/b", 7)
	f.Add(") total-vm:1", "x,global_oom,task_memcg=/b", 7)
	f.Add("oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/a,task=b,pid=1,uid=0", "Tasks in /", 1)
	f.Fuzz(func(t *testing.T, comm, sub string, pid int) {
		for _, line := range []string{comm, sub} {
			if event, ok := parseOOMLine(line); ok && (event.kind != oomGroupKill && event.pid < 1 || len(event.comm) > maxComm) {
				t.Errorf("%q gives %+v", line, event)
			}
			parseKmsgRecord(line)
		}
		if len(comm) > maxComm || pid < 1 || pid > maxPids || strings.ContainsRune(comm+sub, 0) || !utf8.ValidString(sub) {
			return
		}
		own := "/run/id"
		group := own + "/" + strings.Trim(sub, "/")
		line := fmt.Sprintf("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=id,mems_allowed=0,oom_memcg=%s,task_memcg=%s,task=%s,pid=%d,uid=0",
			group, group, comm, pid)
		event, ok := parseOOMLine(line)
		if !ok || event.pid != pid || !within(event.group, own) {
			t.Errorf("%q gives %+v, %v", line, event, ok)
		}
		if !strings.Contains(group, ",task=") && event.comm != comm {
			t.Errorf("%q gives the name %q", line, event.comm)
		}
		line = fmt.Sprintf("Memory cgroup out of memory: Killed process %d (%s) total-vm:1kB, anon-rss:1kB", pid, comm)
		if event, ok := parseOOMLine(line); !ok || event.pid != pid || event.comm != comm {
			t.Errorf("%q gives %+v, %v", line, event, ok)
		}
	})
}
