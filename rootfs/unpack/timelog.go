package unpack

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// timeLogMemory is how many bytes of directories' times are kept in memory; the
// rest goes to a file without a name. The archive chooses how many directories
// there are and how long their names.
const timeLogMemory = 4 << 20

// timeLog notes the times that directories get when all is made.
//
//	record: u16 length of name, 4 × i64 (atime s, ns, mtime s, ns), name
type timeLog struct {
	dir    string // where the file is made
	memory []byte
	file   *os.File
}

const timeRecord = 2 + 4*8

func (l *timeLog) add(name string, times [2]unix.Timespec) error {
	l.memory = binary.LittleEndian.AppendUint16(l.memory, uint16(len(name)))
	for _, v := range []int64{times[0].Sec, times[0].Nsec, times[1].Sec, times[1].Nsec} {
		l.memory = binary.LittleEndian.AppendUint64(l.memory, uint64(v))
	}
	l.memory = append(l.memory, name...)
	if len(l.memory) < timeLogMemory {
		return nil
	}
	return l.spill()
}

func (l *timeLog) spill() error {
	if l.file == nil {
		file, err := unnamed(l.dir)
		if err != nil {
			return err
		}
		l.file = file
	}
	if _, err := l.file.Write(l.memory); err != nil {
		return err
	}
	l.memory = l.memory[:0]
	return nil
}

// unnamed makes a file that no name leads to.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	// Not every filesystem has O_TMPFILE.
	file, err := os.CreateTemp("", "sandboxrun-times-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// each calls set for all that was added, in order: of a name that comes twice the
// last counts.
func (l *timeLog) each(set func(name string, times *[2]unix.Timespec) error) error {
	if l.file == nil {
		return eachTime(l.memory, set)
	}
	if err := l.spill(); err != nil {
		return err
	}
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(l.file, 64<<10)
	record := make([]byte, timeRecord+maxName)
	for {
		if _, err := io.ReadFull(r, record[:timeRecord]); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		length := timeRecord + int(binary.LittleEndian.Uint16(record))
		if _, err := io.ReadFull(r, record[timeRecord:length]); err != nil {
			return err
		}
		if err := eachTime(record[:length], set); err != nil {
			return err
		}
	}
}

func eachTime(records []byte, set func(name string, times *[2]unix.Timespec) error) error {
	for len(records) > 0 {
		length := timeRecord + int(binary.LittleEndian.Uint16(records))
		field := func(i int) int64 { return int64(binary.LittleEndian.Uint64(records[2+8*i:])) }
		times := [2]unix.Timespec{{Sec: field(0), Nsec: field(1)}, {Sec: field(2), Nsec: field(3)}}
		if err := set(string(records[timeRecord:length]), &times); err != nil {
			return err
		}
		records = records[length:]
	}
	return nil
}

func (l *timeLog) close() {
	if l.file != nil {
		l.file.Close()
	}
}
