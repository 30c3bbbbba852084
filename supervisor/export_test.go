package supervisor

// Size returns how many restarts h remembers and how many it has room for.
func (h History) Size() (restarts, room int) { return len(h.ages), cap(h.ages) }
