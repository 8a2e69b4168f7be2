package supervisor

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/runtime"
)

const reportsVersion = 1

// maxReports is how many starts of an instance are kept, the newest: one that is
// started again and again must not fill the disk.
const maxReports = 20

// instanceReport is what is known of an instance after its end, INSTANCE.json in the
// environment's reports.
type instanceReport struct {
	Version  int              `json:"version"`
	Service  string           `json:"service"`
	Instance string           `json:"instance"`
	Restarts int              `json:"restarts"`
	Failure  *control.Failure `json:"failure"`
	// Starts are exit reports (docs/report.md), the newest last.
	Starts []*runtime.Report `json:"starts"`
}

// writeReport writes what is known by now.
func (i *instance) writeReport() error {
	if len(i.reports) > maxReports {
		i.reports = append(i.reports[:0], i.reports[len(i.reports)-maxReports:]...)
	}
	r := instanceReport{Version: reportsVersion, Service: i.service.Name, Instance: i.plan.Name, Starts: i.reports}
	if r.Starts == nil {
		r.Starts = []*runtime.Report{}
	}
	i.env.look(func() { r.Restarts, r.Failure = i.restarts, i.failure })
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return atomicfile.WriteVolatile(filepath.Join(i.env.paths.Reports, i.plan.Name+".json"), append(data, '\n'), 0o600)
}

// encodeReport gives a report the form that events have.
func encodeReport(report *runtime.Report) json.RawMessage {
	data, err := json.Marshal(report)
	if err != nil {
		return nil // it is plain values, which can always be encoded
	}
	return data
}
