export const indexes = {
  monitors_category: 'monitors (category_name, tag)',
  // Small, because few monitors are hidden or disabled.
  monitors_hidden: 'monitors (tag) where hidden',
  monitors_disabled: 'monitors (tag) where not enabled',
  monitors_default_status: 'monitors (default_status, tag)',
  // Reports that do not change the status are still HOT updates.
  last_reports_status: 'last_reports (status)',
}
