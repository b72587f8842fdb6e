window.order = [...(window.order ?? []), 'b'];
