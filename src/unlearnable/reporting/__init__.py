"""What people read: the figures of a cell, the page of a study, and the page of an audit, all in one style."""
