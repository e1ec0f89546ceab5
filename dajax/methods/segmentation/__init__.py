"""Methods with one label a pixel. Files that begin with _ are no methods but what several share."""
