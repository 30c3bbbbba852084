package nearest

// SketchFrom is sketchFrom.
const SketchFrom = sketchFrom

// Told reports whether the last query that sketches were asked for was answered by
// them.
func (t *Table) Told() bool { return t.signed.rough != nil && t.luck == luck{} }
