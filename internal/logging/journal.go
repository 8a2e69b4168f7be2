package logging

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"strings"
)

// journalSocket is where journald listens.
const journalSocket = "/run/systemd/journal/socket"

// maxJournalField bounds a field, so that a record always fits into a datagram.
const maxJournalField = 32 << 10

// journalHandler writes records to journald, in its own protocol
// (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram a record, a field a line.
type journalHandler struct {
	conn  *net.UnixConn
	level slog.Leveler
	// prefix has the fields of all records.
	prefix string
}

func openJournal(socket, identifier string, level slog.Leveler) (*journalHandler, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot log to the journal: %w; is systemd-journald running?", err)
	}
	return &journalHandler{conn: conn, level: level, prefix: journalField("SYSLOG_IDENTIFIER", identifier)}, nil
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	var record strings.Builder
	record.WriteString(h.prefix)
	record.WriteString(journalField("PRIORITY", journalPriority(r.Level)))
	record.WriteString(journalField("MESSAGE", r.Message))
	r.Attrs(func(a slog.Attr) bool {
		record.WriteString(journalAttr(a))
		return true
	})
	_, err := h.conn.Write([]byte(record.String()))
	return err
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.prefix += journalAttr(a)
	}
	return &with
}

// WithGroup implements slog.Handler. There are no groups in our records.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

// journalAttr names a field so that it cannot be one of journald's own.
func journalAttr(a slog.Attr) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, strings.ToUpper(a.Key))
	return journalField("SANDBOXRUN_"+name, a.Value.String())
}

// journalField writes a value of one line after an equals sign, and any other
// with its length before it.
func journalField(name, value string) string {
	if len(value) > maxJournalField {
		value = value[:maxJournalField]
	}
	if !strings.Contains(value, "\n") {
		return name + "=" + value + "\n"
	}
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(value)))
	return name + "\n" + string(length[:]) + value + "\n"
}

// journalPriority is syslog's number of a level.
func journalPriority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "3"
	case level >= slog.LevelWarn:
		return "4"
	case level >= slog.LevelInfo:
		return "6"
	default:
		return "7"
	}
}
